import json
import subprocess
import sys

import pytest
from played_python import played_python
from tiny import tiny_params

from flows.prefect_flows.demo import _show, _wait, run_demo
from flows.report.final import Report
from stages.params.file import load_params, written
from stages.store.run import stored_runs


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_main_job_teaches_what_it_was_never_trained_on(g2rpo, tmp_path, seed):
    done = g2rpo("demo", "--out", str(tmp_path), "--set", f"run.seed={seed}")
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    base, aligned = metrics["base"], metrics["aligned"]
    assert 0.35 <= base["rule_strict"] <= 0.45
    assert aligned["rule_strict"] >= 0.6
    assert all(aligned[name] > base[name] + 0.03 for name in base)
    assert metrics["evaluations_per_prompt"] == 32


@pytest.mark.parametrize(
    ("training", "status"),
    [("exit 7", 7), ("kill -9 $$", 137)],
    ids=["failed", "killed"],
)
def test_a_demo_ends_as_its_training_does_which_had_a_server(own_store, tmp_path, monkeypatch, training, status):
    monkeypatch.setattr(sys, "executable", played_python(tmp_path, training=training))
    params, out = tiny_params("run.seed=3"), tmp_path / "out"
    with pytest.raises(SystemExit) as ended:
        run_demo(params, out)
    assert ended.value.code == status
    assert load_params(out / "params.yaml") == params
    assert (out / "params.yaml").read_text() == written(params)
    told = (tmp_path / "told.txt").read_text().splitlines()
    (server, login), (trained, given) = (line.rsplit(", ", 1) for line in told)
    assert login == given != ""
    url = f"http://127.0.0.1:{server.split(',')[0].rpartition(' ')[2]}/api"
    assert trained == f"-m flows train --params {out / 'params.yaml'}, {own_store / 'prefect'}, {url}"
    assert stored_runs() == []  # the training begins the run


def test_the_status_of_a_training_is_waited_for():
    assert _wait(subprocess.Popen(["sh", "-c", "exit 5"])) == 5


@pytest.mark.parametrize(
    ("command", "stopped_by", "status"),
    [("exec sleep 600", SystemExit, -15), ("exit 0", KeyboardInterrupt, 0)],
)
def test_a_training_may_close_before_the_demo_that_is_stopped_ends(command, stopped_by, status):
    class Stopped(subprocess.Popen):
        """Is being waited for when the demo is stopped."""

        waits = 0

        def wait(self, timeout=None):
            self.waits += 1
            if self.waits == 1:
                raise stopped_by
            return super().wait(timeout)

    training = Stopped(["sh", "-c", command])
    with pytest.raises(stopped_by):
        _wait(training)
    assert training.returncode == status


def test_figures_files_and_ways_to_look_closer_are_shown(own_store, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    details = {"split": "test", "rounds": 9, "run_key": "3fa9c1d2", "prefect_flow_run_id": "0f09"} | {"best_round": 4}
    report = Report({"judge_a": 0.5, "rule_soft": 0.75}, {"judge_a": 0.625, "rule_soft": 0.5}, {}, details)
    best = {"judge_a": 0.7, "rule_soft": 0.8}
    _show(Report(report.base, report.aligned, best, details), tiny_params(), tmp_path / "out")
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
    assert rows == [
        ["judge_a (trained on)", "0.500", "0.625", "+0.125", "0.700"],
        ["rule_soft", "0.750", "0.500", "-0.250", "0.800"],
    ]
    assert "best, round 4" in "\n".join(lines)
    assert "out/metrics.json" in lines
    assert lines[-4] == f"To inspect run 3fa9c1d2, start the servers:  {sys.prefix}/bin/g2rpo up"
    assert lines[-2:] == ["  on Prefect's page  /runs/flow-run/0f09", "  on MLflow's page   experiment 'g2rpo'"]
