"""Servers that die in the middle of a run: it goes on, ends well and soon, and its tables are the undisturbed run's."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from functools import partial

import psutil
import pytest
from command_line import CommandLine
from tiny import ROOT, tables
from tracking import shown, steps_of
from waiting import wait_for

from flows.common.processes import free_port
from flows.prefect_flows.own_server import prefect_server
from flows.services.service import answers

pytestmark = pytest.mark.slow

LONGER = ("run.rounds=10", "evaluate.every=99")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    command = CommandLine(tmp_path_factory.mktemp("undisturbed") / "store")
    command.train(*LONGER)
    return command


def disturbed(g2rpo, disturb, **environment):
    """Train, call `disturb` after two rounds, and return the exit status and what was said on standard error."""
    words = {"cwd": ROOT, "env": g2rpo.environment | environment, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(g2rpo.train_command(*LONGER), **words) as training:
        wait_for(lambda: g2rpo.rounds() >= 2)
        disturb()
        _, told = training.communicate(timeout=170)
    return training.returncode, told


def test_a_prefect_server_that_dies_does_not_keep_a_run_from_its_end(g2rpo, undisturbed, tmp_path):
    with prefect_server(tmp_path / "prefect") as server:
        url = server["PREFECT_API_URL"]
        port = url.split(":")[2].split("/")[0]

        def kill():
            for process in psutil.process_iter(["cmdline"]):
                if port in (process.info["cmdline"] or []):
                    process.send_signal(signal.SIGKILL)

        status, told = disturbed(g2rpo, kill, **server)
    assert status == 0, told
    assert f"the Prefect server at {url} is gone; its page does not show how this ended" in told
    assert tables(g2rpo.run_folder()) == tables(undisturbed.run_folder())


@contextmanager
def mlflow_server(store, port):
    """An MLflow server of the store, its workers among its children."""
    url = f"http://127.0.0.1:{port}"
    places = ["--backend-store-uri", f"sqlite:///{store / 'mlflow.db'}", "--artifacts-destination", str(store / "art")]
    words = ["-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", *places]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, *words], env=environment, **quiet) as process:
        wait_for(lambda: answers(f"{url}/health"))
        tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        yield tree
        send(tree, signal.SIGKILL)


def send(tree, how):
    for process in tree:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(how)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_an_mlflow_server_that_dies_or_hangs_is_done_without_and_shown_later(g2rpo, undisturbed, how):
    g2rpo.store.mkdir()
    port = free_port()
    known = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
    with mlflow_server(g2rpo.store, port) as tree:
        status, told = disturbed(g2rpo, partial(send, tree, how), **known, MLFLOW_HTTP_REQUEST_TIMEOUT="3")
    assert status == 0, told
    assert "MlflowObserver shows this run no longer, the run goes on" in told
    assert tables(g2rpo.run_folder()) == tables(undisturbed.run_folder())
    with mlflow_server(g2rpo.store, port):
        synced = g2rpo("sync", **known)
    assert synced.returncode == 0, synced.stderr
    assert steps_of(g2rpo.store)["reward/judge_a/mean"] == list(range(1, 11))
    assert shown(g2rpo.store)[1].info.status == "FINISHED"
