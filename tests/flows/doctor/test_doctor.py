"""Faults that were planted, each found with its remedy."""

import json
import shutil
import socket

import pytest
from processes import GONE
from typer.testing import CliRunner

from flows.cli.app import app
from flows.common.private import write_private


def doctor(*words):
    """What the command finds that is not in order, by name, and its exit status."""
    done = CliRunner().invoke(app, ["doctor", "--json", *words])
    found = {check["name"]: check for check in json.loads(done.stdout) if check["state"] != "ok"}
    assert done.exit_code == any(check["state"] == "fault" for check in found.values())
    assert all(check["remedy"] for check in found.values())
    return found


def told(found, name, state, *parts):
    assert found[name]["state"] == state
    for part in parts:
        assert part in f"{found[name]['message']} {found[name]['remedy']}"


def test_where_nothing_is_wrong_there_is_no_fault(store):
    found = doctor("--set", "guards.disk.free_gb=0.000001")  # whatever room this machine has
    assert [name for name, check in found.items() if check["state"] == "fault"] == []


def test_parameters_that_are_not_valid(store):
    told(doctor("--set", "rollout.group_size=1"), "parameters", "fault", "rollout.group_size")


@pytest.mark.slow
def test_what_killed_processes_have_left_in_the_store(store, trained):
    run = store / "runs" / trained.run_folder().name
    shutil.copytree(trained.run_folder(), run)
    (run / "HEAD").write_text("1\n")
    (run / "lock").write_text(f"{GONE}\n{socket.gethostname()}\n")
    (run / "rounds" / "0001" / f".score.json.{GONE}.tmp").touch()
    (store / "runs" / "0123456789abcdef").mkdir()
    services = store / "services"
    services.mkdir()
    service = {"name": "mlflow", "pid": GONE, "url": "http://127.0.0.1:9", "log": "mlflow.log", "started_at": 1.0}
    write_private(services / "mlflow.json", json.dumps(service))
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert f"process {GONE}, which held it, is gone after 1 of 2 rounds" in done.stdout
    assert f"or `g2rpo train --run {run.name[:8]}`: it resumes there." in done.stdout
    assert "1 files are half written, such as rounds/0001/.score.json" in done.stdout
    found = doctor()
    told(found, "run 01234567", "fault", "run.json", "Run the command that made the run again")
    told(found, "service mlflow", "fault", f"process {GONE} of `g2rpo up` has ended", "Run `g2rpo up`")
