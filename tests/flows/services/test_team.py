"""Servers with logins on Postgres, as docker-compose.yaml has them, here as processes: what members of a team do."""

import asyncio
import json
import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
import requests
from postgres import PASSWORDS, postgres
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.workers.base import BaseJobConfiguration
from services import overrides_of
from tiny import ROOT
from waiting import wait_for

from flows.common.processes import free_port
from flows.services.service import answers

pytestmark = pytest.mark.slow

LOGIN = ("lead", "a-long-password")
WORKER = ("worker", "another-long-password")
NAME = "gpu.example:5000"
"""By which a team calls MLflow."""


@contextmanager
def running(command, environment, health):
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, **quiet) as process:
        try:
            wait_for(lambda: answers(health))
            yield
        finally:
            os.killpg(process.pid, 15)


def script_environment(folder, port):
    """All that deploy/mlflow.sh takes."""
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_STORE": f"sqlite:///{folder / 'mlflow.db'}",
        "MLFLOW_USERS": f"sqlite:///{folder / 'users.db'}",
        "MLFLOW_ARTIFACTS": str(folder / "artifacts"),
        "MLFLOW_ALLOWED_HOSTS": f"127.0.0.1:{port},{NAME}",
        "MLFLOW_ALLOWED_ORIGINS": f"http://{NAME}",
        "MLFLOW_PORT": str(port),
        "MLFLOW_AUTH_ADMIN_USERNAME": LOGIN[0],
        "MLFLOW_AUTH_ADMIN_PASSWORD": LOGIN[1],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "0123456789abcdef",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


@pytest.fixture(scope="module")
def database():
    with postgres() as server:
        yield server


@pytest.fixture(scope="module")
def servers(tmp_path_factory, database):
    """Both servers; the variables that a member of the team sets."""
    folder, ports = tmp_path_factory.mktemp("team"), [free_port(), free_port()]
    prefect, mlflow = (f"http://127.0.0.1:{port}" for port in ports)
    by_script = script_environment(folder, ports[1]) | {
        "MLFLOW_STORE": database.address("mlflow", "mlflow"),
        "MLFLOW_USERS": database.address("mlflow", "mlflow_users"),
    }
    by_prefect = {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_API_AUTH_STRING": ":".join(LOGIN),
        "PREFECT_API_DATABASE_CONNECTION_URL": database.address("prefect", "prefect", "postgresql+asyncpg"),
    }
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


def test_each_role_of_postgres_reaches_its_own_databases_alone(database, servers):
    tables = "SELECT count(*) FROM information_schema.tables WHERE table_name IN ('flow_run', 'runs', 'users')"
    own = [("prefect", "prefect"), ("mlflow", "mlflow"), ("mlflow", "mlflow_users")]
    for role, name in own:
        assert database.psql(role, name, "--tuples-only", f"--command={tables}").stdout.strip() == "1", name
    for role, name in [("prefect", "mlflow"), ("prefect", "mlflow_users"), ("mlflow", "prefect"), *no_ones(own)]:
        refused = database.psql(role, name, "--command=SELECT 1")
        assert "permission denied for database" in refused.stderr, (role, name)
    roles = "SELECT rolname FROM pg_roles WHERE rolsuper OR rolcreaterole OR rolcreatedb"
    assert database.psql("postgres", "postgres", "--tuples-only", f"--command={roles}").stdout.split() == ["postgres"]


def no_ones(own):
    return [(role, name) for role in dict(own) for name in ("postgres", "template1")]


def test_no_process_of_a_server_shows_a_password(servers):
    arguments = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    secrets = [*PASSWORDS.values(), LOGIN[1], "0123456789abcdef"]
    assert [line for line in arguments if any(secret in line for secret in secrets)] == []


def test_the_workers_user_of_mlflow_logs_runs_and_manages_no_users(servers):
    address = {"MLFLOW_TRACKING_URI": servers["MLFLOW_TRACKING_URI"]}
    login = {name: servers[name] for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")}
    for password in ("a-former-password", WORKER[1]):  # again, with another password
        user = {"MLFLOW_USER": WORKER[0], "MLFLOW_USER_PASSWORD": password}
        command, environment = [sys.executable, "deploy/mlflow_user.py"], os.environ | address | login | user
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    api = f"{servers['MLFLOW_TRACKING_URI']}/api/2.0/mlflow"

    def status(path, login, **asked):
        return requests.post(f"{api}/{path}", json=asked, auth=login, timeout=60).status_code

    assert status("runs/create", (WORKER[0], "a-former-password"), experiment_id="0") == 401
    assert status("runs/create", WORKER, experiment_id="0") == 200
    assert status("users/create", WORKER, username="friend", password="a-long-password") == 403


def test_nothing_is_told_without_a_login_or_to_another_host(servers):
    runs = f"{servers['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/experiments/search?max_results=1"
    flows = f"{servers['PREFECT_API_URL']}/flows/filter"
    assert requests.get(runs, timeout=60).status_code == 401
    assert requests.get(runs, auth=LOGIN, timeout=60).status_code == 200
    assert requests.get(runs, auth=LOGIN, headers={"Host": "evil.example"}, timeout=60).status_code == 403
    assert requests.post(flows, json={}, timeout=60).status_code == 401
    assert requests.post(flows, json={}, auth=LOGIN, timeout=60).status_code == 200


@pytest.mark.parametrize("api", ["api", "ajax-api"])
def test_mlflows_page_works_under_the_teams_name_and_no_page_from_elsewhere_does(servers, api):
    runs = f"{servers['MLFLOW_TRACKING_URI']}/{api}/2.0/mlflow/runs/search"

    def status(origin):
        headers = {"Host": NAME, "Origin": origin}
        return requests.post(runs, json={"experiment_ids": ["0"]}, auth=LOGIN, headers=headers, timeout=60).status_code

    assert status(f"http://{NAME}") == 200
    assert status("http://evil.example") == 403


@pytest.mark.parametrize(
    ("left_out", "told"),
    [
        ("MLFLOW_AUTH_ADMIN_PASSWORD", "password of the administrator"),
        ("MLFLOW_FLASK_SERVER_SECRET_KEY", "a long random text"),
    ],
)
def test_without_a_password_mlflow_does_not_start(tmp_path, left_out, told):
    environment = script_environment(tmp_path, free_port())
    del environment[left_out]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    done = subprocess.run(
        ["deploy/mlflow.sh"],
        cwd=ROOT,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode != 0
    assert f"{left_out}: {told}" in done.stderr


@pytest.mark.parametrize("login", [None, "lead:wrong"])
def test_a_refused_login_at_prefect_ends_in_words_not_in_a_traceback(g2rpo, servers, login):
    own = {name: value for name, value in servers.items() if name.startswith("PREFECT_API_URL")}
    own |= {"PREFECT_API_AUTH_STRING": login} if login else {}
    done = g2rpo(*g2rpo.train_command()[3:], **own)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "it refuses the login, or requires one. Set PREFECT_API_AUTH_STRING to name:password" in done.stderr


def test_doctor_names_each_login_that_is_refused(g2rpo, servers):
    said = g2rpo("doctor", **servers | {"PREFECT_API_AUTH_STRING": "", "MLFLOW_TRACKING_PASSWORD": "wrong"}).stdout
    assert "Set PREFECT_API_AUTH_STRING" in said
    assert "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in said


def test_a_container_is_given_mlflows_password_and_the_deployment_does_not_have_it(g2rpo, servers):
    text = (ROOT / "docs/team.md").read_text()
    commands = text.split("pip install prefect-docker\n")[1].split("    prefect worker")[0]
    environment = g2rpo.environment | servers
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        ["sh", "-ec", commands], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr

    def stored(path):
        return requests.get(f"{servers['PREFECT_API_URL']}/{path}", auth=LOGIN, timeout=60).json()

    deployment, pool = stored("deployments/name/train/nightly-docker"), stored("work_pools/g2rpo-docker")
    assert deployment["job_variables"]["env"]["MLFLOW_TRACKING_USERNAME"] == LOGIN[0]
    assert LOGIN[1] not in json.dumps([deployment, pool])
    settings = {
        PREFECT_API_URL: servers["PREFECT_API_URL"],
        PREFECT_API_AUTH_STRING: servers["PREFECT_API_AUTH_STRING"],
    }
    template, values = pool["base_job_template"], deployment["job_variables"]
    with temporary_settings(settings):  # as a worker does when a flow run starts
        given = asyncio.run(BaseJobConfiguration.from_template_and_values(template, values))
    assert given.env == values["env"] | {"MLFLOW_TRACKING_PASSWORD": LOGIN[1]}


def test_a_worker_of_a_member_serves_the_teams_servers_and_down_leaves_them(g2rpo, servers, trained):
    done = g2rpo("up", **servers)
    assert done.returncode == 0, done.stderr
    try:
        command = [sys.executable, "-m", "prefect", "deployment", "run", "train/demo", "--watch", "--param"]
        asked = f"overrides={json.dumps(overrides_of())}"
        environment = g2rpo.environment | servers
        ran = subprocess.run(
            [*command, asked], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=600
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
