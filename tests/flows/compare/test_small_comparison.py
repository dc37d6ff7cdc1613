"""A small comparison as a user makes it: real processes, a real store, MLflow and Prefect."""

import fcntl
import json
import os
import re
import signal
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from comparisons import PLAN, Comparing, numbers, table, write_plan
from logged_in import ask
from mlflow.tracking import MlflowClient
from PIL import Image
from processes import processes_with
from tiny import ROOT
from waiting import wait_for

from flows.compare.run import compare
from stages.integrity.verify import verify
from stages.store.run import Run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def compared(tmp_path_factory, prefect_api):
    """Two methods, two seeds, compared once, under Prefect."""
    comparing = Comparing(tmp_path_factory.mktemp("compared"))
    comparing.plan = write_plan(comparing.folder)
    comparing.said = comparing(comparing.plan, **prefect_api)
    assert comparing.said.returncode == 0, comparing.said.stderr
    return comparing


@pytest.fixture
def within(compared, monkeypatch):
    """The process of the test, in the store of the comparison."""
    monkeypatch.setenv("G2RPO_HOME", str(compared.store))
    return compared


def test_each_run_is_told_with_its_figure_and_the_time_that_is_left(compared):
    said = compared.said.stderr
    assert "small.yaml: 0 of 4 runs are done, 4 to go, 2 at a time\n" in said
    told = re.findall(r"(\d)/4 (\w+), seed (\d): \d+ s, rule_soft (0\.\d{3}) on test(; about \d+:\d\d left)?\n", said)
    assert [(number, bool(left)) for number, _, _, _, left in told] == [(n, n != "4") for n in "1234"]
    rows = [
        row for row in table(compared.folder / "out/runs.csv") if (row["reward"], row["split"]) == ("rule_soft", "test")
    ]
    figures = {(row["method"], row["seed"], f"{float(row['value']):.3f}") for row in rows}
    assert {(method, seed, figure) for _, method, seed, figure, _ in told} == figures


def test_each_run_is_an_ordinary_run_of_the_store(compared, within):
    runs = [Run(path) for path in (compared.store / "runs").iterdir()]
    rows = table(compared.folder / "out/runs.csv")
    assert {run.key for run in runs} == {row["run_key"] for row in rows}
    for run in runs:
        assert verify(run) == []
        assert run.evaluations() == [(0, "tuning"), (2, "test"), (2, "tuning")]  # the base on test: once
        (row,) = [r for r in rows if r["run_key"] == run.key and r["split"] == "test" and r["reward"] == "judge_b"]
        counted = sum(metrics["evaluations"] for metrics in run.metrics())
        beside = 2 * 4 * 2  # the KL at the two sites of four prompts, twice: measured, and not charged
        assert float(row["evaluations"]) == counted - beside <= PLAN["budget"]
        assert (int(row["rounds"]), int(row["seed"])) == (2, run.params().run.seed)
    assert len(list((compared.store / "bases").glob("*/evaluate.json"))) == 1
    bases = [path for run in runs for path in run.evaluation_folder(0, "tuning").glob("*/*.parquet")]
    assert len(bases) == 8
    assert len({path.stat().st_ino for path in bases}) <= 4  # the first two runs judged it at once, the others took it


def test_mlflow_tells_the_runs_apart_by_plan_and_method(compared):
    client = MlflowClient(tracking_uri=f"sqlite:///{compared.store / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("g2rpo").experiment_id])
    assert sorted(run.data.tags["g2rpo.method"] for run in runs) == ["coarse", "coarse", "fine", "fine"]
    assert {run.data.tags["g2rpo.plan"] for run in runs} == {"small"}
    assert all({"held_out/test/judge_b", "held_out/tuning/judge_b"} <= set(run.data.metrics) for run in runs)
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_under_prefect_each_run_is_a_task_with_its_name(compared, prefect_api):
    (flow,) = ask(prefect_api, "flow_runs/filter", {"flow_runs": {"name": {"any_": ["compare-small"]}}})
    assert flow["state_type"] == "COMPLETED"
    tasks = ask(prefect_api, "task_runs/filter", {"flow_runs": {"id": {"any_": [flow["id"]]}}})
    assert sorted(task["name"] for task in tasks) == ["coarse-s7", "coarse-s8", "fine-s7", "fine-s8"]


def test_the_final_table_is_of_the_runs(compared):
    """Of two seeds a and b the mean is (a + b) / 2, and half the interval 12.706 |a - b| / 2."""
    runs, final = (table(compared.folder / f"out/{name}.csv") for name in ("runs", "final"))
    for row in final:
        if row["method"] == "base":
            assert (row["n"], row["std"], row["low"]) == ("1", "", "")
            continue
        a, b = (
            float(r["value"]) for r in runs if all(r[k] == row[k] for k in ("method", "reward")) if r["split"] == "test"
        )
        assert float(row["mean"]) == pytest.approx((a + b) / 2)
        assert float(row["high"]) - float(row["mean"]) == pytest.approx(12.7062 * abs(a - b) / 2, rel=1e-5)
    assert len(final) == 3 * 4
    paired = table(compared.folder / "out/paired.csv")
    means = {(row["method"], row["reward"]): float(row["mean"]) for row in final}
    assert len(paired) == 4
    for row in paired:
        assert (row["method"], row["reference"], row["n"]) == ("coarse", "fine", "2")
        difference = means["coarse", row["reward"]] - means["fine", row["reward"]]
        assert float(row["difference"]) == pytest.approx(difference, abs=1e-12)
        assert row["p"] == row["p_holm"]  # one method, one variant: a family of one test


def test_curves_tell_what_was_spent_by_then(compared):
    rows = table(compared.folder / "out/curves.csv")
    for row in rows:
        each = {"fine": 92, "coarse": 80}[row["method"]]
        assert float(row["evaluations"]) == int(row["policy_round"]) * each
        assert row["split"] == "tuning"
    assert len(rows) == 4 * 2 * 4
    base = {(row["reward"], row["value"]) for row in rows if row["policy_round"] == "0"}
    assert len(base) == 4  # one value a reward: the base paints the same whatever the seed and method


def test_the_report_has_every_figure_to_print(compared):
    out = compared.folder / "out"
    page, text = (out / "report.html").read_text(), (out / "report.md").read_text()
    names = re.findall(r'src="([\w-]+)\.png"', page)
    assert set(names) == {"final", "curves", "pareto", "images"} == set(re.findall(r"\]\(([\w-]+)\.png\)", text))
    for name in names:
        assert Image.open(out / f"{name}.png").convert("L").getextrema()[0] < 100
        assert (out / f"{name}.svg").read_text().startswith("<?xml")
    mean = json.loads((out / "metrics.json").read_text())["coarse"]["judge_b"]
    for said in (page, text):
        assert f"{mean:.3f} ± " in said
        assert "judge_a (trained on)" in said
        assert "2 methods × 2 seeds" in said
    assert "| method | rule_soft | judge_a (trained on) | judge_b | rule_strict |" in text


def test_once_more_does_no_work_and_writes_the_same(within, tmp_path):
    def files(folder):
        return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}

    before = files(within.store)
    compare(within.plan, tmp_path / "again")
    assert files(within.store) == before
    for path in (within.folder / "out").iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_killed_comparison_goes_on_and_a_run_that_fails_is_told_at_the_end(compared, tmp_path):
    comparing, plan = Comparing(tmp_path), write_plan(tmp_path, processes=1)
    killed = comparing.started(plan)
    try:
        wait_for(lambda: list(comparing.store.glob("runs/*/rounds/0000/update.json")))
    finally:
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
    wait_for(lambda: not processes_with(f"G2RPO_HOME={comparing.store}"))  # the process died with it
    required = {row["run_key"]: row for row in table(compared.folder / "out/runs.csv")}
    (begun,) = (path.name for path in (comparing.store / "runs").iterdir())
    failing = next(key for key in required if key != begun)
    name = f"{required[failing]['method']}, seed {required[failing]['seed']}"
    (comparing.store / "runs" / failing).mkdir()
    with (comparing.store / "runs" / failing / "lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = comparing(plan)
    assert done.returncode == 2
    assert re.search(rf"must finish, 1 failed:\n  {name}: Run {failing} must be free", done.stderr)
    assert "out shows the 3 others. Fix the causes, then run the same command again" in done.stderr
    out = tmp_path / "out"
    assert f"1 runs of the plan are not done, and nothing here is of them:** {name}." in (out / "report.md").read_text()
    for file in ("runs.csv", "curves.csv"):
        rows = numbers(compared.folder / "out" / file)
        assert numbers(out / file) == [
            row for row in rows if (row["method"], row["seed"]) != tuple(name.split(", seed "))
        ]
    assert {row["n"] for row in table(out / "final.csv")} == {"1", "2"}


def test_a_grid_chooses_by_the_tuning_captions_and_looks_at_no_others(within, tmp_path):
    """The runs of the comparison, as one method at two points: nothing is left to do."""
    plan = write_plan(tmp_path, methods={"any": {}}, reference="any", grid={"complete.granularities": [[1], [2]]})
    assert compare(plan, tmp_path / "grid") == str(tmp_path / "grid/report.html")
    runs = [row for row in table(tmp_path / "grid/runs.csv") if row["reward"] == "rule_soft"]
    means = {
        point: statistics.mean(float(row["value"]) for row in runs if row["complete.granularities"] == point)
        for point in ("[1]", "[2]")
    }
    best = max(means, key=lambda point: means[point])
    chosen = yaml.safe_load((tmp_path / "grid/best.yaml").read_text())
    assert chosen == {"methods": {"any": {"set": {"complete.granularities": json.loads(best)}}}}
    (row,) = table(tmp_path / "grid/best.csv")
    assert (row["complete.granularities"], row["split"], float(row["mean"])) == (
        best,
        "tuning",
        pytest.approx(means[best]),
    )
    assert (tmp_path / "grid/grid.png").is_file()
    assert {row["split"] for row in runs} == {"tuning"}


def test_one_seed_gives_figures_without_intervals_and_no_tests(within, tmp_path):
    compare(write_plan(tmp_path, seeds=[7]), tmp_path / "one")
    text = (tmp_path / "one/report.md").read_text()
    assert "of one seed, so without intervals" in text
    assert "±" not in text.split("## Over training")[0].replace("mean ± half", "")
    assert "Against" not in text
    assert {row["p"] for row in table(tmp_path / "one/paired.csv")} == {""}


def test_dvc_keeps_the_report_and_repeats_nothing(compared, tmp_path):
    """pipelines/compare in a clone, on the store of the comparison."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(lambda name: (ROOT / name).is_file(), listed.stdout.splitlines()):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    write_plan(tmp_path / "presets", "compare", params="../params.yaml")
    environment = compared.environment | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_SITE_CACHE_DIR": str(tmp_path / "site"),
    }

    def run(*words, within="pipelines/compare"):
        done = subprocess.run(
            words, cwd=tmp_path / within, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    run("git", "init", "-q", within=".")
    assert "4 of 4 runs are done, all of them" in run("dvc", "repro")
    result = tmp_path / "pipelines/compare/result"
    assert (result / "final.csv").read_bytes() == (compared.folder / "out/final.csv").read_bytes()
    assert "up to date" in run("dvc", "repro")
    assert "rule_soft" in run("dvc", "metrics", "show")
    assert not (tmp_path / ".g2rpo").exists()
    assert not (tmp_path / "pipelines/compare/.g2rpo").exists()
