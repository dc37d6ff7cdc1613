import os
import socket
from http.server import BaseHTTPRequestHandler

import pytest
import yaml
from http_here import answering
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.states import Running
from processes import GONE
from stand_ins import noted

from flows.prefect_flows.train import train_flow
from flows.services.deploy import POOL, deploy
from flows.services.zombies import HOST
from stages.params.yaml import dumped

TRIGGER = {"type": "event", "posture": "Reactive", "expect": ["g2rpo.guard.tripped"], "threshold": 1, "within": 0}
DEMO = {"name": "demo", "entrypoint": "flows/prefect_flows/deployed.py:train"}
SETTLED = ["deployments match prefect.yaml", "automations match automations.yaml"]


def automation(name, **changes):
    return {"name": name, "description": "", "trigger": TRIGGER, "actions": [{"type": "do-nothing"}]} | changes


@pytest.fixture
def client(prefect_in_process):
    with temporary_settings({PREFECT_API_URL: prefect_in_process}), get_client(sync_client=True) as client:
        yield client
        for one in client.read_automations():
            client.delete_automation(one.id)


@pytest.fixture
def project(tmp_path):
    """Writes the files of a project; returns its folder."""
    (tmp_path / "project").mkdir()

    def write(*automations, deployments=()):
        folder = tmp_path / "project"
        (folder / "prefect.yaml").write_text(dumped({"deployments": [*deployments]}))
        (folder / "automations.yaml").write_text(dumped({"automations": [*automations]}))
        return folder

    return write


@pytest.fixture
def deployed(prefect_in_process):
    """Deploys a project; what is said."""

    def call(folder, *, anew=False):
        said = []
        deploy(folder, {"PREFECT_API_URL": prefect_in_process}, said.append, anew=anew)
        return said

    return call


def test_a_folder_without_its_files_is_refused_before_prefect_is_asked(project):
    folder = project()
    (folder / "automations.yaml").unlink()
    with pytest.raises(ValueError, match=r"^automations.yaml is required in .*/project, got none. Run the command in"):
        deploy(folder, {"PREFECT_API_URL": "http://127.0.0.1:9/api"}, print, anew=True)


def test_the_work_pool_and_the_automations_are_made_once(client, project, deployed):
    folder = project(automation("one"), automation("two"))
    assert deployed(folder) == SETTLED
    pool = client.read_work_pool(POOL)
    assert (pool.name, pool.type) == ("g2rpo", "process")
    made = {one.name: one.id for one in client.read_automations()}
    assert set(made) == {"one", "two"}
    assert deployed(folder) == deployed(folder, anew=True) == SETTLED
    assert client.read_work_pool(POOL).id == pool.id
    assert {one.name: one.id for one in client.read_automations()} == made  # not deleted, and not made again


def test_an_automation_that_differs_is_told_and_is_replaced_if_that_is_asked_for(client, project, deployed):
    deployed(project(automation("one"), automation("two")))
    before = {one.name: one.id for one in client.read_automations()}
    folder = project(automation("one", description="the file's"), automation("two"))
    told = "automations differ, unchanged: one; g2rpo up --deploy replaces them by the file's"
    assert deployed(folder) == [SETTLED[0], told]
    assert {one.name: one.id for one in client.read_automations()} == before
    assert deployed(folder, anew=True) == SETTLED
    after = {one.name: one for one in client.read_automations()}
    assert (after["one"].description, after["two"].id) == ("the file's", before["two"])
    assert after["one"].id != before["one"]


def test_what_lacks_is_deployed_by_prefects_command_from_the_projects_folder(
    client, project, deployed, stand_in, prefect_in_process
):
    flow = client.create_flow_from_name("train")
    there = client.create_deployment(flow, "nightly")
    nightly = DEMO | {"name": "nightly"}
    folder = project(deployments=[DEMO, nightly])
    told = "already deployed, unchanged: train/nightly; g2rpo up --deploy deploys them again"
    assert deployed(folder) == [told, SETTLED[1]]
    (command,) = noted(stand_in)
    assert command["words"][:6] == ["-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file"]
    assert yaml.safe_load(command["file"]) == {"deployments": [DEMO]}
    environment = command["environment"]
    assert (environment["PREFECT_API_URL"], environment["PWD"]) == (prefect_in_process, str(folder))
    assert not os.path.exists(command["words"][6])
    assert deployed(folder, anew=True) == SETTLED
    anew = yaml.safe_load(noted(stand_in)[1]["file"])["deployments"]
    assert [one["name"] for one in anew] == ["demo", "nightly"]
    client.delete_deployment(there)


def test_what_prefects_command_refuses_is_told_in_its_words(client, project, deployed, stand_in, monkeypatch):
    monkeypatch.setenv("FAILING", "deploy")
    told = r"^`prefect deploy --all` must end with status 0, got 1:\nprefect cannot do this$"
    with pytest.raises(ValueError, match=told):
        deployed(project(deployments=[DEMO]))


def test_flow_runs_that_have_lost_their_process_are_crashed_and_told(client, project, deployed):
    made = client.create_flow_run(train_flow, parameters={"key": "0", "params": {}}, state=Running())
    client.update_flow_run(made.id, infrastructure_pid=str(GONE))
    client.update_flow_run_labels(made.id, {HOST: socket.gethostname()})
    told = f"flow run {made.name} has lost its process: it is marked as crashed, and Prefect runs it again"
    assert deployed(project()) == [*SETTLED, told]
    assert client.read_flow_run(made.id).state.is_crashed()


@pytest.mark.parametrize(("login", "got"), [(None, "got none"), ("lead:wrong", "got another login")])
def test_a_prefect_that_asks_for_a_login_is_told_with_the_variable_to_set(project, login, got):
    class Handler(BaseHTTPRequestHandler):
        def refuse(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = refuse  # noqa: N815  the names are http.server's

        def log_message(self, *_):
            pass

    with answering(Handler) as server:
        url = f"{server}/api"
        told = rf"{got}: it answers 401 at {url}.* Set PREFECT_API_AUTH_STRING to name:password"
        with temporary_settings({PREFECT_API_AUTH_STRING: login}), pytest.raises(ValueError, match=told):
            deploy(project(), {"PREFECT_API_URL": url}, print, anew=True)
