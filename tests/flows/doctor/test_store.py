import errno
import fcntl
import json
import os
import socket
import subprocess
from dataclasses import asdict

import psutil
import pytest
from processes import GONE
from rounds import new_run
from tiny import tiny_params

from flows.common.private import write_private
from flows.doctor.check import Check
from flows.doctor.store import locks, runs, services
from flows.services.service import Service
from stages.integrity.damage import Damage, mark


@pytest.fixture
def run(store):
    """A run of two rounds, none of which is done."""
    return new_run(tiny_params())[0]


def test_runs_that_are_whole_are_counted(store, run):
    assert list(runs()) == [Check("runs", "ok", f"1 in {store}")]


def test_a_run_without_its_own_files_is_a_fault_and_the_others_are_looked_at(store, run):
    (store / "runs" / "0123456789abcdef").mkdir()
    fault, all_of_them = runs()
    assert (fault.name, fault.state) == ("run 01234567", "fault")
    assert "0123456789abcdef/run.json" in fault.message
    assert "Run the command that made the run again" in fault.remedy
    assert all_of_them.message == f"2 in {store}"


def test_a_run_that_goes_on_with_damage_is_warned_of_with_the_command_that_mends_it(run):
    mark(run, [Damage(run.path / "rounds/0000/score.json", "gone")])
    warning = next(runs())
    assert (warning.name, warning.state) == (f"run {run.key[:8]}", "warn")
    assert warning.message == "damaged files of earlier rounds or evaluations: 1"
    assert warning.remedy == f"`g2rpo repair --run {run.key[:8]}` makes them again."


def test_a_run_whose_holder_was_killed_is_warned_of_with_the_command_that_goes_on(run):
    (run.path / "lock").write_text(f"{GONE}\n{socket.gethostname()}\n")
    warning = next(runs())
    assert (warning.name, warning.state) == (f"run {run.key[:8]}", "warn")
    assert warning.message == f"process {GONE}, which held it, is gone after 0 of 2 rounds"
    assert f"`g2rpo train --run {run.key[:8]}`: it resumes there." in warning.remedy


@pytest.mark.parametrize(
    "lock",
    [f"{GONE}\nanother-machine\n", f"{os.getpid()}\n{socket.gethostname()}\n", ""],
    ids=["another machine", "a process that is there", "nobody"],
)
def test_of_another_machine_a_living_or_no_process_nothing_is_said(run, lock):
    (run.path / "lock").write_text(lock)
    assert [check.name for check in runs()] == ["runs"]


def test_files_that_a_process_has_left_half_written_are_counted_and_those_of_one_that_is_there_are_not(run):
    (run.path / f".run.json.{GONE}.tmp").touch()
    (run.path / f".HEAD.{os.getpid()}.tmp").touch()  # this process writes nothing of it now: it is of an earlier one
    with subprocess.Popen(["sleep", "600"]) as writer:
        (run.path / f".params.yaml.{writer.pid}.tmp").touch()
        warning = next(runs())
        writer.kill()
    assert (warning.name, warning.state) == (f"run {run.key[:8]}", "warn")
    assert warning.message.startswith("2 files are half written, such as .")
    assert "the next `g2rpo train` of the run removes them" in warning.remedy


def test_services_are_told_by_their_process(store):
    own = psutil.Process()
    there = Service("prefect", own.pid, "http://127.0.0.1:9", "prefect.log", own.create_time())
    gone = Service("mlflow", GONE, "http://127.0.0.1:8", "mlflow.log", 1.0)
    (store / "services").mkdir(parents=True)
    for service in (there, gone):
        write_private(store / "services" / f"{service.name}.json", json.dumps(asdict(service)))
    (store / "services" / "worker.json").write_text("{")
    mlflow, prefect, worker = services()
    assert (mlflow.name, mlflow.state) == ("service mlflow", "fault")
    assert mlflow.message == f"process {GONE} of `g2rpo up` has ended; the end of its log is in mlflow.log"
    assert mlflow.remedy == "Run `g2rpo up`: it starts missing services."
    assert prefect == Check("service prefect", "ok", f"process {own.pid} http://127.0.0.1:9")
    assert (worker.state, worker.remedy) == ("warn", "Remove it, then run `g2rpo up`.")
    assert worker.message == f"{store / 'services' / 'worker.json'} cannot be read"


def test_a_machine_without_a_store_has_nothing_wrong_with_it(store):
    assert list(runs()) == [Check("runs", "ok", f"0 in {store}")]
    assert list(services()) == []


def test_what_lies_beside_runs_and_in_them_is_named_and_ignored(store, run):
    (store / "runs" / "notes.txt").touch()
    (store / "runs" / f"{run.key}.bak").mkdir()
    (run.path / "metrics").mkdir()
    (run.path / "metrics" / "0001 (copy).json").touch()
    of_run, of_runs, all_of_them = runs()
    assert of_run.message == "files that are not the run's are ignored: metrics/0001 (copy).json"
    assert of_runs.message.endswith(f"that are no runs and are ignored: {run.key}.bak, notes.txt")
    assert [check.state for check in (of_run, of_runs, all_of_them)] == ["warn", "warn", "ok"]


def test_a_run_with_a_link_is_a_fault_and_the_others_are_looked_at(store, run):
    (store / "runs" / "0123456789abcdef").mkdir()
    (store / "runs" / "0123456789abcdef" / "rounds").symlink_to("/")
    fault, all_of_them = runs()
    assert "got a link or a special file" in fault.message
    assert all_of_them.message == f"2 in {store}"


def test_a_lock_is_tried_and_a_file_system_without_is_a_fault(store, monkeypatch):
    assert list(locks()) == [Check("locks", "ok", f"{store} has locks")]

    def refused(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refused)
    (fault,) = locks()
    assert (fault.state, fault.message.endswith("got: Operation not supported")) == ("fault", True)
    assert "G2RPO_HOME" in fault.remedy
    assert list(store.iterdir()) == []
