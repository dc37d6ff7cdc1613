"""Up, a deployment by a real worker, a schedule, refusals, crashes, down: with the real servers."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess

import psutil
import pytest
import requests
from command_line import CommandLine
from processes import processes_with
from services import overrides_of
from tiny import ROOT, tables
from waiting import wait_for

pytestmark = pytest.mark.slow

LONGER = ("run.rounds=20", "evaluate.every=99")


@pytest.fixture
def empty(up):
    """The servers, with no run in the store."""
    yield up
    shutil.rmtree(up.g2rpo.store / "runs", ignore_errors=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    command = CommandLine(tmp_path_factory.mktemp("undisturbed") / "store")
    command.train(*LONGER)
    return tables(command.run_folder())


def test_the_demo_is_deployed_and_a_worker_completes_it(empty, trained):
    flow_run = empty.run_deployment("train/demo", overrides=overrides_of())
    empty.ends(flow_run, "COMPLETED")
    run = empty.run()
    assert empty.flow_run(flow_run)["name"] == f"train-{run.key}"
    assert tables(run.path) == tables(trained.run_folder())
    shown = empty.http.get(
        f"{empty.mlflow}/api/2.0/mlflow/runs/get",
        params={"run_id": run.links["mlflow_run_id"]},
        timeout=60,
    ).json()
    assert shown["run"]["info"]["status"] == "FINISHED"


def test_up_again_starts_nothing_that_runs(up):
    before = {name: service["pid"] for name, service in up.services().items()}
    assert set(before) == {"prefect", "mlflow", "worker"}
    said = up.start().stderr
    assert {name: service["pid"] for name, service in up.services().items()} == before
    assert "prefect is running" in said


def test_an_mlflow_that_is_killed_comes_back_where_the_worker_looks_for_it(up):
    before = up.services()
    os.kill(before["mlflow"]["pid"], signal.SIGKILL)
    up.start()
    after = up.services()
    assert after["mlflow"]["pid"] != before["mlflow"]["pid"]
    assert after["mlflow"]["url"] == before["mlflow"]["url"]
    assert after["worker"]["pid"] == before["worker"]["pid"]
    assert _servers_of(after["worker"]) == up.environment


def test_a_worker_is_started_anew_when_a_server_comes_back_elsewhere(up):
    before = up.services()
    _kill(before["mlflow"])
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(before["mlflow"]["url"].rpartition(":")[2])))
        other.listen()
        said = up.start().stderr
    after = up.services()
    assert "worker uses other servers" in said
    assert after["mlflow"]["url"] != before["mlflow"]["url"]
    assert not psutil.pid_exists(before["worker"]["pid"])
    assert _servers_of(after["worker"]) == up.environment


def test_addresses_that_status_has_exported_are_not_taken_for_servers_of_others(up):
    before = up.services()
    _kill(before["mlflow"])
    done = up.g2rpo("up", **up.environment)
    assert done.returncode == 0, done.stderr
    assert up.services()["mlflow"]["url"] == before["mlflow"]["url"]
    assert "deployments match prefect.yaml" in done.stderr


def test_an_up_that_is_ended_leaves_no_server_half_started_and_two_at_once_start_one(up):
    killed, stored = up.services()["mlflow"], up.g2rpo.store / "services/mlflow.json"
    _kill(killed)

    def anew():  # read from its file: by the time that `g2rpo status` tells of it, it may be up
        with contextlib.suppress(OSError, ValueError):
            return (pid := json.loads(stored.read_text())["pid"]) != killed["pid"] and pid
        return False

    words = {"env": up.g2rpo.environment, "stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True}
    words |= {"cwd": ROOT}
    with subprocess.Popen(up.g2rpo.command("up"), **words) as ended:
        assert any("mlflow starts" in line for line in ended.stderr)
        wait_for(anew)
        begun = psutil.Process(anew())
        ended.terminate()
        ended.communicate(timeout=60)
    assert ended.returncode == 128 + signal.SIGTERM
    assert not begun.is_running()
    with (
        subprocess.Popen(up.g2rpo.command("up"), **words) as one,
        subprocess.Popen(up.g2rpo.command("up"), **words) as two,
    ):
        said = [each.communicate(timeout=600)[1] for each in (one, two)]
    assert [one.returncode, two.returncode] == [0, 0], said
    assert sum("mlflow starts" in told for told in said) == 1
    assert sum("mlflow is running" in told for told in said) == 1
    up.start()


def test_schedules_are_shipped_inactive_and_runs_wait_for_each_other(up):
    deployments = up.post("deployments/filter", {})
    schedules = [schedule for deployment in deployments for schedule in deployment["schedules"]]
    assert len(deployments) == 4
    assert [schedule["active"] for schedule in schedules] == [False] * 3
    for deployment in deployments:
        assert deployment["enforce_parameter_schema"]
        assert deployment["global_concurrency_limit"]["limit"] == 1
        assert deployment["concurrency_options"]["collision_strategy"] == "ENQUEUE"
        assert "g2rpo" in deployment["tags"]


def test_a_schedule_fires(empty):
    nightly = next(d for d in empty.post("deployments/filter", {}) if d["name"] == "nightly")
    at = f"{empty.api}/deployments/{nightly['id']}"
    parameters = {"overrides": overrides_of("run.rounds=1")}
    empty.http.patch(at, json={"parameters": parameters}, timeout=60).raise_for_status()
    soon = {"active": True, "schedule": {"interval": 5}}
    made = empty.http.post(f"{at}/schedules", json=[soon], timeout=60)
    made.raise_for_status()
    own = {"any_": [nightly["id"]]}
    by_schedule = {"flow_runs": {"deployment_id": own, "state": {"type": {"any_": ["COMPLETED"]}}}}
    wait_for(lambda: empty.post("flow_runs/filter", by_schedule))
    empty.http.delete(f"{at}/schedules/{made.json()[0]['id']}", timeout=60).raise_for_status()
    assert empty.post("flow_runs/filter", by_schedule)[0]["auto_scheduled"]
    wait_for(lambda: _nothing_is_left(empty, nightly["id"]))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"rounds": 0}, "0 is less than the minimum of 1"),
        ({"final": "perhaps"}, "'perhaps' is not of type 'boolean'"),
        ({"params": "/etc/passwd"}, "does not match"),
        ({"overrides": {"rollout": 3}}, "'rollout' does not match"),
    ],
)
def test_wrong_parameters_are_refused_at_submission(up, wrong, told):
    demo = next(d for d in up.post("deployments/filter", {}) if d["name"] == "demo")
    at = f"{up.api}/deployments/{demo['id']}/create_flow_run"
    refused = up.http.post(at, json={"parameters": wrong}, timeout=60)
    assert refused.status_code == 409
    assert told in refused.text


def test_parameters_that_params_yaml_refuses_start_nothing(empty):
    flow_run = empty.run_deployment("train/demo", overrides=overrides_of("rollout.group_size=1"))
    empty.ends(flow_run, "FAILED")
    assert "rollout.group_size" in empty.flow_run(flow_run)["state"]["message"]
    assert empty.g2rpo.rounds() == 0


def test_a_flow_run_that_is_killed_is_run_again_and_ends_with_the_undisturbed_tables(empty, undisturbed):
    flow_run = empty.run_deployment("train/demo", overrides=overrides_of(*LONGER))
    wait_for(lambda: empty.g2rpo.rounds() >= 3)
    os.kill(_process_of(empty, flow_run), signal.SIGKILL)
    empty.ends(flow_run, "COMPLETED")
    # The worker reports the crash twice; under load the second report comes late and ends the second try as well.
    assert empty.flow_run(flow_run)["run_count"] in (2, 3)
    assert tables(empty.run().path) == undisturbed


def test_after_the_worker_and_its_flow_run_are_killed_up_brings_both_back(empty, undisturbed):
    flow_run = empty.run_deployment("train/demo", overrides=overrides_of(*LONGER))
    wait_for(lambda: empty.g2rpo.rounds() >= 3)
    worker = psutil.Process(empty.services()["worker"]["pid"])
    for process in (worker, *worker.children(recursive=True)):  # the worker first: it shall not tell anybody
        process.send_signal(signal.SIGKILL)
    wait_for(lambda: not empty.services()["worker"]["running"])
    said = empty.start().stderr
    assert "has lost its process: it is marked as crashed, and Prefect runs it again" in said
    empty.ends(flow_run, "COMPLETED")
    assert tables(empty.run().path) == undisturbed


def test_a_flow_run_that_is_cancelled_on_the_page_ends_and_its_run_can_go_on(empty, undisturbed):
    flow_run = empty.run_deployment("train/demo", overrides=overrides_of(*LONGER))
    wait_for(lambda: empty.g2rpo.rounds() >= 3)
    process = _process_of(empty, flow_run)
    empty.post(f"flow_runs/{flow_run}/set_state", {"state": {"type": "CANCELLING"}})  # as the page's button does
    empty.ends(flow_run, "CANCELLED")
    wait_for(lambda: not psutil.pid_exists(process))
    assert empty.g2rpo.rounds() < 20
    again = empty.run_deployment("train/demo", overrides=overrides_of(*LONGER))
    empty.ends(again, "COMPLETED")
    assert tables(empty.run().path) == undisturbed


def test_down_leaves_nothing_running(up):
    mark = f"G2RPO_HOME={up.g2rpo.store}"
    assert processes_with(mark)
    addresses = (up.api, up.mlflow)
    said = up.g2rpo("down").stdout
    assert "stopped: worker, mlflow, prefect" in said
    assert processes_with(mark) == []
    for address in addresses:
        with pytest.raises(requests.ConnectionError):
            requests.get(address, timeout=5)
    assert "was not started by g2rpo up" in up.g2rpo("status").stdout
    assert up.g2rpo("down").stdout == "nothing was running\n"


def _kill(service):
    """Kill a service with all that it has started."""
    top = psutil.Process(service["pid"])
    tree = [top, *top.children(recursive=True)]
    for process in tree:
        process.kill()
    assert not psutil.wait_procs(tree, timeout=30)[1]


def _servers_of(worker):
    """The addresses and the login that a worker's process has in its environment."""
    named = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING")
    environment = psutil.Process(worker["pid"]).environ()
    return {name: value for name, value in environment.items() if name in named or name.startswith("MLFLOW_TRACKING_")}


def _process_of(up, flow_run):
    """The process of a flow run, as its worker has noted it."""
    return int(up.flow_run(flow_run)["infrastructure_pid"])


def _nothing_is_left(servers, deployment):
    """Delete the flow runs of a deployment that wait, also for a slot, and return whether none is left that runs."""
    left = {"deployment_id": {"any_": [deployment]}, "state": {"type": {"any_": ["SCHEDULED", "RUNNING", "PENDING"]}}}
    found = servers.post("flow_runs/filter", {"flow_runs": left})
    for late in found:
        if late["state_type"] == "SCHEDULED":
            servers.http.delete(f"{servers.api}/flow_runs/{late['id']}", timeout=60)
    return not found
