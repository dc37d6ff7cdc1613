"""`g2rpo compare` over a store in which some runs are whole; stand-in processes bring the others."""

import json

import pytest
from comparisons import PLAN, write_plan
from prefect.settings import PREFECT_API_URL, temporary_settings
from stand_in_process import stand_in
from whole_runs import make_whole

from flows.compare.comparison import Comparison
from flows.compare.progress import Progress
from flows.compare.run import bring_plainly, compare


@pytest.fixture(autouse=True)
def _without_prefect():
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        yield


def test_where_all_runs_are_whole_the_report_is_written_and_nothing_else_done(tmp_path, store, figures, capsys):
    path = write_plan(tmp_path, seeds=[7])
    for placed in Comparison.of(path).runs:
        make_whole(placed)
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    assert compare(path, tmp_path / "out") == str(tmp_path / "out/report.html")
    assert json.loads((tmp_path / "out/metrics.json").read_text())["coarse"]["rule_soft"] == pytest.approx(0.55)
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before
    assert capsys.readouterr().err == f"{path}: 2 of 2 runs are done, all of them\n"


def test_a_run_that_fails_is_told_at_the_end_and_the_report_is_of_the_others(tmp_path, figures, monkeypatch):
    stand_in(tmp_path, monkeypatch, coarse="no room on the disk")
    monkeypatch.chdir(tmp_path)
    path = write_plan(tmp_path, seeds=[7])
    fine, coarse = Comparison.of(path).runs
    make_whole(fine)
    coarse.log("small").parent.mkdir(parents=True)
    with pytest.raises(ValueError) as told:
        compare(path, None)
    assert str(told.value).splitlines() == [
        "Every run of the plan must finish, 1 failed:",
        f"  coarse, seed 7: no room on the disk (log: {coarse.log('small')})",
        "The report in outputs/compare/small shows the 1 others. Fix the causes, then run the same command again: "
        "finished runs are kept.",
    ]
    assert (
        "not done, and nothing here is of them:** coarse, seed 7."
        in (tmp_path / "outputs/compare/small/report.md").read_text()
    )


def test_without_a_single_run_there_is_no_report(tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, fine="no room", coarse="no room")
    path = write_plan(tmp_path, seeds=[7])
    Comparison.of(path).runs[0].log("small").parent.mkdir(parents=True)
    with pytest.raises(ValueError, match=r"(?s)2 failed:.*There is no report\. Fix the causes"):
        compare(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_runs_are_brought_to_their_end_and_told_one_by_one(tmp_path, monkeypatch, capsys):
    stand_in(tmp_path, monkeypatch, fine="no room")
    comparison = Comparison.of(write_plan(tmp_path, seeds=[7]))
    fine, coarse = comparison.runs
    make_whole(coarse)  # as a process would have
    fine.log("small").parent.mkdir(parents=True)
    progress = Progress(comparison, 2)
    bring_plainly(comparison, comparison.runs, progress)
    assert {row["run"]: row["result"].partition("s, ")[2] for row in progress.rows} == {
        "coarse, seed 7": "rule_soft 0.550 on test",
        "fine, seed 7": "",
    }
    assert list(progress.failed) == ["fine, seed 7"]


def test_a_server_that_is_not_there_is_refused_before_any_run_is_begun(tmp_path, store):
    tracked = write_plan(tmp_path, set=PLAN["set"] | {"tracking.uri": "http://127.0.0.1:1"})
    with pytest.raises(ValueError, match="the MLflow server must answer at http://127.0.0.1:1"):
        compare(tracked, tmp_path / "out")
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}),
        pytest.raises(
            ValueError, match="the Prefect API must answer at http://127.0.0.1:1/api, got no answer.*PREFECT"
        ),
    ):
        compare(write_plan(tmp_path), tmp_path / "out")
    assert not store.exists()
