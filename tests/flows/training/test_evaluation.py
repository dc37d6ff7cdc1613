import csv
import json

import pytest
from histories import run_by_hand
from tiny import tiny_params
from tracking import values_of

from flows.training.evaluation import evaluate_run, report_run
from stages.disk.tables import read_table

FEW = ("report.num_prompts=2", "evaluate.rewards=[judge_a, rule_soft]")
"""How a run is judged afterwards, otherwise than during it."""


def judged(again, out, *overrides):
    return evaluate_run(again.run.key[:8], tiny_params(*FEW, *overrides), out)


def means(folder):
    table = read_table(folder / "evaluations").to_pandas()
    return {name: float(rows["value"].mean()) for name, rows in table.groupby("reward")}


def test_policies_are_judged_as_asked_now_and_their_means_told_written_and_shown(again, tracked, tmp_path):
    told = judged(again, tmp_path / "out", "rollout.eta=0.1")  # which is not of how it is judged
    base, aligned = (means(tmp_path / "out" / name) for name in ("base", "aligned"))
    assert set(base) == {"judge_a", "rule_soft"}
    assert read_table(tmp_path / "out/base/evaluations").num_rows == 2 * 2
    written = json.loads((tmp_path / "out/metrics.json").read_text())
    assert written["base"] == pytest.approx(base)
    assert written["aligned"] == pytest.approx(aligned)
    assert written["rounds"] == 2
    assert written["evaluations"] == sum(row["evaluations"] for row in again.run.metrics())
    first, *lines = told.splitlines()
    assert first.startswith(f"run {again.run.key} after 2 rounds, test captions, base -> aligned")
    assert [line.split(";")[0] for line in lines] == [
        f"  {name}: {base[name]:.3f} -> {aligned[name]:.3f}" for name in ("judge_a", "rule_soft")
    ]
    shown = values_of(tracked)["held_out/test/judge_a"]
    assert (shown[0], shown[2]) == pytest.approx((base["judge_a"], aligned["judge_a"]))
    assert not any(again.run.path.glob("evaluations/*-test/evaluations/*.tmp"))


def test_the_best_round_is_judged_too_where_it_is_another(again, tracked, tmp_path):
    """Without its last judging the run was best as the base."""
    (again.run.evaluation_folder(2, "tuning") / "evaluate.json").unlink()
    told = judged(again, tmp_path)
    base, aligned = means(tmp_path / "base"), means(tmp_path / "aligned")
    assert "base -> aligned; best, after 0 rounds:" in told
    assert f"  judge_a: {base['judge_a']:.3f} -> {aligned['judge_a']:.3f}; {base['judge_a']:.3f}" in told


@pytest.mark.usefixtures("own_store")
def test_a_run_without_a_finished_round_is_refused(tmp_path):
    run, params = run_by_hand()
    with pytest.raises(ValueError, match=f"Run {run.key} must have finished a round, got none. Train it first."):
        evaluate_run(run.key, params, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_report_of_a_run_is_of_the_evaluations_within_it(again, tmp_path):
    told = report_run(again.run.key, again.params, None, tmp_path / "report")
    assert told == str(tmp_path / "report/report.html")
    assert again.run.key in (tmp_path / "report/report.html").read_text()
    written = json.loads((tmp_path / "report/metrics.json").read_text())
    assert written["aligned"] == pytest.approx(means(again.run.evaluation_folder(2, "test")))
    with (tmp_path / "report/rounds.csv").open() as rows:
        assert [row["round"] for row in csv.DictReader(rows)] == ["1", "2"]


def test_a_report_of_what_was_not_judged_is_refused_with_how_to_judge_it(again, tmp_path):
    with pytest.raises(
        ValueError, match=r"must have been evaluated on the test captions, got no evaluation in .*nowhere"
    ):
        report_run(again.run.key, again.params, tmp_path / "nowhere", tmp_path / "report")
    (again.run.evaluation_folder(0, "test") / "evaluate.json").unlink()
    with pytest.raises(ValueError, match=f"Run `g2rpo evaluate --run {again.run.key} --out D`, then pass --evaluation"):
        report_run(again.run.key, again.params, None, tmp_path / "report")
    assert not (tmp_path / "report").exists()
