"""A process that brings runs to their end: tasks in, answers out, and what the runs say in their logs."""

import io
import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr
from pathlib import Path

import pytest
from comparisons import PLAN, write_plan
from tiny import ROOT, tiny_params
from waiting import wait_for

from flows.compare.comparison import Comparison
from flows.compare.plan_process import bring, work
from flows.compare.stored import measured


@pytest.fixture
def streams():
    """Keeps this process's standard output and error, which a task sends to its logs."""
    kept = [os.dup(stream) for stream in (1, 2)]
    yield
    for stream, copy in zip((1, 2), kept, strict=True):
        os.dup2(copy, stream)
        os.close(copy)


def answers_of(*tasks):
    answers = io.StringIO()
    with open(2, "w", buffering=1, closefd=False) as errors, redirect_stderr(errors):  # pytest has put another there
        work(io.StringIO("".join(json.dumps(task) + "\n" for task in tasks)), answers)
    return [json.loads(line) for line in answers.getvalue().splitlines()]


def refused(log):
    """A task whose parameters are not valid."""
    tree = tiny_params().model_dump(mode="json")
    tree["rollout"]["group_size"] = 1
    return {"params": tree, "log": str(log), "links": {}, "split": "test", "runs": []}


def test_a_run_that_is_refused_is_answered_with_why_and_the_next_is_tried(tmp_path, streams):
    logs = [tmp_path / "logs" / name for name in ("one.log", "two.log")]
    found = answers_of(*map(refused, logs))
    assert [answer["last"] for answer in found] == [False, False]
    assert all("rollout.group_size: input should be greater than or equal to 2" in answer["error"] for answer in found)
    for log in logs:
        assert log.read_text().count("Traceback") == 1  # each in its own


def test_what_is_said_goes_to_the_end_of_the_log(tmp_path, streams):
    (tmp_path / "a.log").write_text("said before\n")
    answers_of(refused(tmp_path / "a.log"))
    os.write(1, b"said to standard output\n")
    os.write(2, b"said to standard error\n")
    said = (tmp_path / "a.log").read_text()
    assert said.startswith("said before\n")
    assert said.endswith("said to standard output\nsaid to standard error\n")


def test_an_error_that_spoils_the_process_is_its_last_answer(tmp_path, streams):
    broken = {"log": str(tmp_path / "a.log")}  # names no parameters
    assert answers_of(broken, refused(tmp_path / "b.log")) == [{"error": "KeyError: 'params'", "last": True}]


def test_a_run_is_brought_to_its_end_and_judged_with_its_base(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    small = PLAN["set"] | {"prompts.num_prompts": 2, "prompts.shard_size": 2, "evaluate.num_prompts": 2}
    small |= {"report.num_prompts": 2, "evaluate.rewards": ["judge_a", "rule_soft"]}
    comparison = Comparison.of(write_plan(tmp_path, set=small, seeds=[7], budget=46, params=str(ROOT / "params.yaml")))
    fine = comparison.runs[0]
    bring(comparison.task(fine))
    found = measured(fine)
    assert len(found.rounds) == 1
    assert {(row["policy_round"], row["split"]) for row in found.scores} == {(0, "tuning"), (1, "tuning"), (1, "test")}
    assert {row["reward"]: row["prompts"] for row in found.base} == {"judge_a": 2, "rule_soft": 2}
    assert (found.links["plan"], found.links["method"]) == ("small", "fine")
    assert measured(comparison.runs[1]) is None


@pytest.fixture
def start_process():
    """Starts a process that believes to be a child of some process."""
    started = []

    def start(parent):
        words = [sys.executable, "-m", "flows.compare.plan_process", str(parent)]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        started.append(subprocess.Popen(words, cwd=ROOT, **pipes))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.communicate()


def ignores(process, number):
    """Whether a process of Linux ignores a signal."""
    (mask,) = [
        line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if line.startswith("SigIgn")
    ]
    return bool(int(mask.split()[1], 16) >> (number - 1) & 1)


def test_an_interrupt_is_for_the_parent_and_a_request_to_end_is_obeyed(start_process):
    process = start_process(os.getpid())
    wait_for(lambda: process.poll() is not None or ignores(process, signal.SIGINT))
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(b"")  # nothing more to do: it ends by itself, and not by the interrupt
    assert (process.returncode, out) == (0, b"")
    process = start_process(os.getpid())
    wait_for(lambda: process.poll() is not None or ignores(process, signal.SIGINT))
    process.terminate()
    process.wait()
    assert process.returncode in (128 + signal.SIGTERM, -signal.SIGTERM)


def test_a_process_without_its_parent_does_nothing(start_process):
    process = start_process(os.getppid())
    out, errors = process.communicate(b"no json\n")
    assert (process.returncode, out, errors) == (0, b"", b"")


def test_a_process_reads_tasks_from_its_parent(start_process):
    process = start_process(os.getpid())
    _, errors = process.communicate(b"no json\n")
    assert process.returncode == 1
    assert b"JSONDecodeError" in errors
