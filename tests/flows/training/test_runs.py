"""List, stop and logs, on real runs, and a demo that is stopped."""

import json
import os
import shutil
import signal
import socket
import subprocess
from functools import partial

import numpy as np
import pytest
from logged_in import ask
from PIL import Image
from processes import processes_with
from tiny import ROOT
from waiting import wait_for

from stages.disk.tables import read_table
from stages.integrity.verify import verify
from stages.store.run import Run


def test_a_list_tells_how_far_each_run_is_and_what_it_has_come_to(trained):
    (row,) = json.loads(trained("list", "--json").stdout)
    assert (row["key"], row["rounds"], row["of"]) == (trained.run_folder().name, 2, 2)
    assert (row["state"], row["method"], row["parent"]) == ("finished", "G²RPO", None)
    assert set(row["rewards"]) == {"judge_a"}
    shown = trained("list").stdout
    assert f"rule_soft {row['best']:.3f} after {row['best_round']}" in shown
    assert "2/2" in shown


def test_a_run_that_is_damaged_is_listed_as_such(trained, g2rpo):
    folder = g2rpo.store / "runs" / "0123456789abcdef"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{")
    assert "cannot be read: " in g2rpo("list").stdout


def test_an_empty_store_is_said_to_be_empty(g2rpo):
    assert "`g2rpo train` starts one" in g2rpo("list").stdout


def test_the_log_has_a_line_for_each_round_and_evaluation(trained):
    said = trained("logs", "--run", trained.run_folder().name[:6]).stdout.splitlines()
    told = [line.split(" ", 1)[1] for line in said]
    told = told[: told.index("finished") + 1]  # other tests may have given the same command since
    assert told[0] == "goes on after 0 of 2 rounds"
    assert [line.split(":")[0] for line in told if line.startswith("round")] == ["round 1", "round 2"]
    assert [line.split(":")[0] for line in told if line.startswith("tuning")] == [f"tuning after {n}" for n in range(3)]
    assert trained("logs", "--service", "mlflow").returncode == 2
    assert trained("logs").returncode == 2


@pytest.mark.slow
def test_a_run_stops_at_the_end_of_its_stage_and_goes_on_later(g2rpo):
    command = g2rpo.train_command("run.rounds=40", "evaluate.every=99")
    words = {"cwd": ROOT, "env": g2rpo.environment, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **words) as training:
        wait_for(lambda: g2rpo.rounds() >= 2)
        key = g2rpo.run_folder().name
        assert "stops at the end of its stage" in (asked := g2rpo("stop", "--run", key).stdout)
        assert f"process {training.pid} of {socket.gethostname()}" in asked
        _, told = training.communicate(timeout=60)
    assert training.returncode == 130
    assert f"run {key} is stopped on request; run the same command again to resume" in told
    done = g2rpo.rounds()
    assert 2 <= done < 40
    assert verify(Run(g2rpo.run_folder())) == []
    assert "no process holds it" in g2rpo("stop", "--run", key).stderr
    assert json.loads(g2rpo("list", "--json").stdout)[0]["state"] == "stopped"
    g2rpo.train(f"run.rounds={done + 1}", "evaluate.every=99")
    assert g2rpo.rounds() == done + 1


@pytest.mark.slow
def test_a_run_that_is_stopped_at_once_is_cancelled_at_prefect(g2rpo, prefect_api):
    command = g2rpo.train_command("run.rounds=400", "evaluate.every=999")
    words = {"cwd": ROOT, "env": g2rpo.environment | prefect_api, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **words) as training:
        wait_for(lambda: g2rpo.rounds() >= 1)
        run = Run(g2rpo.run_folder())
        (run.path / "lock").write_text(f"{training.pid}\nelsewhere\n")
        told = g2rpo("stop", "--run", run.key, "--now").stderr
        assert f"got process {training.pid} of elsewhere. Run the command there" in told
        (run.path / "lock").write_text(f"{training.pid}\n{socket.gethostname()}\n")
        assert "stops at once" in g2rpo("stop", "--run", run.key, "--now").stdout
        _, told = training.communicate(timeout=60)
    assert training.returncode == 130
    assert f"run {run.key} is stopped on request" in told
    flow_run = ask(prefect_api, f"flow_runs/{run.links['prefect_flow_run_id']}")
    assert flow_run["state"]["type"] == "CANCELLED"
    done = g2rpo.rounds()
    g2rpo.train(f"run.rounds={done + 1}", "evaluate.every=999")  # the request is used up
    assert g2rpo.rounds() == done + 1


@pytest.mark.slow
def test_two_runs_are_shown_side_by_side(trained, g2rpo, tmp_path):
    shutil.copytree(trained.run_folder(), g2rpo.store / "runs" / trained.run_folder().name)
    g2rpo.train("run.seed=1", "run.rounds=3")
    first, second = trained.run_folder().name, next(run["key"] for run in json.loads(g2rpo("list", "--json").stdout))
    done = g2rpo("diff", first[:8], second[:8], "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [first, second] in rows
    assert ["run.seed", "0", "1"] in rows
    assert ["rounds", "2", "3"] in rows
    assert not any(row and row[0] == "update.learning_rate" for row in rows)
    (figure,) = [row for row in rows if row[:3] == ["test", "judge_b,", "last"]]
    means = read_table(trained.run_folder() / "evaluations/0002-test/evaluations").to_pandas()
    assert float(figure[3]) == pytest.approx(means[means.reward == "judge_b"]["value"].mean(), abs=1e-4)
    assert "<td>run.seed</td><td>0</td><td>1</td>" in (tmp_path / "diff.html").read_text()
    assert np.asarray(Image.open(tmp_path / "curves.png").convert("L")).std() > 10


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_demo_that_is_stopped_leaves_no_process(g2rpo, tmp_path, number):
    words = [word for word in g2rpo.train_command("run.rounds=1000")[3:] if word != "train"]
    command = g2rpo.command("demo", "--out", str(tmp_path / "demo"), *words)
    demo = subprocess.Popen(
        command,
        cwd=ROOT,
        env=g2rpo.environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  a shell's `&` ignores it
    )
    try:
        wait_for(lambda: list(g2rpo.store.glob("runs/*/rounds/0000/update.json")))
        if number == signal.SIGINT:
            os.killpg(demo.pid, number)  # as a terminal does
        else:
            os.kill(demo.pid, number)
        _, said = demo.communicate(timeout=120)
        wait_for(lambda: not processes_with(f"G2RPO_HOME={g2rpo.store}"))
    finally:
        demo.kill()
    if number == signal.SIGTERM:
        assert demo.returncode == 143
        assert "stopped by SIGTERM; run the same command again to continue" in said
    if number == signal.SIGINT:
        assert demo.returncode == 130
        assert "stopped; run the same command again to continue" in said
