import os
import random
import signal
import socket
import subprocess
import time

import pytest
from kills import At, Killer, Within, files, outcome
from tiny import ROOT, tables

from stages.contract.declared_stages import ROUND_STAGES
from stages.disk.files import read_sealed

STAGES = [stage.name for stage in ROUND_STAGES]
MANIFEST = {stage: At(rf"os.rename .*/runs/.*/{stage}\.json$") for stage in (*STAGES, "evaluate")}
"""The kill between the last shard of a stage and its manifest."""
HEAD = r"os.rename .*/HEAD$"
LINK = r"os.link .*/\.exported\."


def seed():
    """What a failure is repeated with: `KILL_SEED=... make test-slow`."""
    return int(os.environ.get("KILL_SEED") or random.SystemRandom().randrange(10**6))


def killed(command, reference, plan, words, *, again=(), **environment):
    """Kill a command by a plan and compare all that it leaves with an unkilled run; return the kills.

    It is let come to its end, and after each kill that is asked for `again` once more.
    """
    exported = command.store.parent / "exported"
    killer = Killer(command, reference, words, exported=exported, **environment)
    for aim in plan:
        killer.kill(aim)
    killer.finish()
    for aim in again:
        killer.kill(aim)
        killer.finish()
    print(killer.log)
    found, required = outcome(command), outcome(reference)
    for name, value in required.items():
        assert found[name] == value, f"{name}\n{killer.log}"
    assert found["damage"] == found["left behind"] == found["steps twice"] == [], killer.log
    assert found["status"] == "FINISHED", killer.log
    assert files(exported) == files(command.run_folder()), killer.log
    return killer


@pytest.mark.slow
def test_a_run_killed_five_times_ends_as_one_that_was_not(trained, g2rpo):
    rng = random.Random(0)
    plan = [
        Within("database", rng.random()),
        MANIFEST["score"],
        At("os.rename .*/updates/"),
        At(HEAD, after=True),
        At(LINK, nth=20),
    ]
    kills = killed(g2rpo, trained, plan, g2rpo.train_command())
    assert kills.phases == ["start", "score", "update", "logging", "export"], kills.log


@pytest.mark.slow
def test_a_run_killed_fifty_times_ends_as_one_that_was_not(g2rpo, tmp_path_factory):
    rng = random.Random(chosen := seed())
    print(f"KILL_SEED={chosen}")
    words = ("run.rounds=8", "evaluate.every=2", "retention.rounds=2")
    reference = type(g2rpo)(tmp_path_factory.mktemp("reference") / "store")
    reference.train(*words)
    replacing = At(r"os.rename .*/\.exported\..*\.old\.tmp$", after=True)  # of the export before it
    kills = killed(g2rpo, reference, long_plan(rng), g2rpo.train_command(*words), again=[replacing])
    assert len(kills.phases) >= 50
    expected = {"start", "evaluate", *STAGES, "round end", "logging", "export"}
    assert set(kills.phases) == expected, f"KILL_SEED={chosen}\n{kills.log}"


def long_plan(rng):
    """Kills at each commit and by the clock within each phase, over several rounds, in the order of a run."""
    plan = [At("os.rename .*/runs/", nth) for nth in range(1, 5)]
    plan += [Within(phase, rng.random()) for phase in ("start", "database", "database", "database", "start")]
    for _ in range(2):
        plan += [MANIFEST["evaluate"], At(r"os.rename .*/mlartifacts/", rng.randint(1, 2))]
        for stage in STAGES:
            plan += [MANIFEST[stage], Within(stage, rng.random())]
        plan += [At(r"os.rename .*/policy$"), At(HEAD), Within("round end", rng.random()), At(HEAD, after=True)]
    plan += [At("os.remove .*/rounds/.*/part-", rng.randint(1, 6)), At("os.rename .*/runs/", rng.randint(1, 20))]
    plan += [At(LINK, rng.randint(1, 150)), Within("export", rng.random()), At(r"os.rename .*/exported$")]
    return plan


@pytest.mark.slow
def test_a_flow_killed_four_times_ends_as_a_run_that_was_not(trained, g2rpo, prefect_api):
    plan = [MANIFEST["complete"], Within("update", 0.2), At(HEAD, after=True), At(LINK, nth=20)]
    kills = killed(g2rpo, trained, plan, g2rpo.train_command(), **prefect_api)
    assert kills.phases == ["complete", "update", "logging", "export"], kills.log


@pytest.mark.slow
def test_a_second_start_of_a_run_is_refused_until_the_first_is_killed(trained, g2rpo):
    holder = subprocess.Popen(
        g2rpo.train_command(), cwd=ROOT, env=g2rpo.environment, stderr=subprocess.DEVNULL, start_new_session=True
    )
    about = g2rpo.store / "runs" / trained.run_folder().name / "run.json"
    while not (read_sealed(about) or {}).get("sessions"):
        assert holder.poll() is None
        time.sleep(0.001)
    os.killpg(holder.pid, signal.SIGSTOP)  # it holds the run for as long as we look
    try:
        second = g2rpo(*g2rpo.train_command()[3:])
    finally:
        os.killpg(holder.pid, signal.SIGKILL)
        holder.wait()
    assert second.returncode == 2
    assert f"it is held by process {holder.pid} of {socket.gethostname()}." in second.stderr
    g2rpo.train()
    assert tables(g2rpo.run_folder()) == tables(trained.run_folder())
