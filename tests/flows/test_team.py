"""Servers with logins, as docker-compose.yaml has them, here as processes: what a member of a team does with them."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests
from services import overrides_of
from tiny import ROOT
from waiting import wait_for

from flows.prefect_server import free_port
from flows.services.service import answers

pytestmark = pytest.mark.slow

LOGIN = ("lead", "a-long-password")


@contextmanager
def running(command, environment, health):
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, **quiet) as process:
        try:
            wait_for(lambda: answers(health), 120)
            yield
        finally:
            os.killpg(process.pid, 15)


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """Both servers; the variables that a member of the team sets."""
    folder, ports = tmp_path_factory.mktemp("team"), [free_port(), free_port()]
    prefect, mlflow = (f"http://127.0.0.1:{port}" for port in ports)
    by_script = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_STORE": f"sqlite:///{folder / 'mlflow.db'}",
        "MLFLOW_USERS": f"sqlite:///{folder / 'users.db'}",
        "MLFLOW_ARTIFACTS": str(folder / "artifacts"),
        "MLFLOW_ALLOWED_HOSTS": f"127.0.0.1:{ports[1]}",
        "MLFLOW_PORT": str(ports[1]),
        "MLFLOW_AUTH_ADMIN_USERNAME": LOGIN[0],
        "MLFLOW_AUTH_ADMIN_PASSWORD": LOGIN[1],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "0123456789abcdef",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    by_prefect = {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_SERVER_API_AUTH_STRING": ":".join(LOGIN)}
    start = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(ports[0])]
    with ExitStack() as both:
        both.enter_context(running(["deploy/mlflow.sh"], by_script, f"{mlflow}/health"))
        both.enter_context(running(start, by_prefect, f"{prefect}/api/health"))
        yield {
            "PREFECT_API_URL": f"{prefect}/api",
            "PREFECT_API_AUTH_STRING": ":".join(LOGIN),
            "MLFLOW_TRACKING_URI": mlflow,
            "MLFLOW_TRACKING_USERNAME": LOGIN[0],
            "MLFLOW_TRACKING_PASSWORD": LOGIN[1],
        }


def test_nothing_is_told_without_a_login_or_to_another_host(servers):
    runs = f"{servers['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/experiments/search?max_results=1"
    flows = f"{servers['PREFECT_API_URL']}/flows/filter"
    assert requests.get(runs, timeout=60).status_code == 401
    assert requests.get(runs, auth=LOGIN, timeout=60).status_code == 200
    assert requests.get(runs, auth=LOGIN, headers={"Host": "evil.example"}, timeout=60).status_code == 403
    assert requests.post(flows, json={}, timeout=60).status_code == 401
    assert requests.post(flows, json={}, auth=LOGIN, timeout=60).status_code == 200


def test_without_a_password_mlflow_does_not_start():
    done = subprocess.run(["deploy/mlflow.sh"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "database of the users" in done.stderr


def test_a_worker_of_a_member_serves_the_teams_servers_and_down_leaves_them(g2rpo, servers, trained):
    done = g2rpo("up", **servers)
    assert done.returncode == 0, done.stderr
    try:
        command = [sys.executable, "-m", "prefect", "deployment", "run", "train/demo", "--watch", "--param"]
        asked = f"overrides={json.dumps(overrides_of())}"
        environment = g2rpo.environment | servers
        ran = subprocess.run(
            [*command, asked], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=240
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
    finally:
        stopped = g2rpo("down", **servers)
    assert stopped.stdout.split() == ["stopped:", "worker"]
    assert answers(f"{servers['PREFECT_API_URL']}/health")
    found = requests.post(
        f"{servers['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/runs/search",
        json={"experiment_ids": ["1"], "max_results": 5},
        auth=LOGIN,
        timeout=60,
    ).json()
    assert [run["info"]["status"] for run in found["runs"]] == ["FINISHED"]


def test_doctor_logs_in_and_finds_the_same_versions(g2rpo, servers):
    said = g2rpo("doctor", **servers).stdout
    assert "ok    prefect: " in said
    assert "ok    mlflow: " in said
