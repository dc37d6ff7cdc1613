import json
import os
import stat
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import psutil
import pytest
from processes import GONE
from waiting import wait_for

from flows.common.private import write_private
from flows.common.processes import free_port
from flows.services.service import Service, answers, folder, plain_environment, start, stop, stored

pytestmark = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
"""Services are meant to."""

SERVE = [sys.executable, "-I", "-S", "-m", "http.server", "--bind", "127.0.0.1"]
STUBBORN = "trap '' TERM; echo ready; while true; do sleep 0.05; done"


@pytest.fixture(autouse=True)
def short(monkeypatch, store):
    """Nobody is waited for longer than a second at the end, and no child of the test outlives it."""
    monkeypatch.setattr("flows.services.service._END_SECONDS", 1)
    before = psutil.Process().children()
    yield
    for child in psutil.Process().children():
        if child not in before:
            child.kill()


@pytest.fixture
def process():
    """Starts a shell in a session of its own, and ends whatever of it is left."""
    begun = []

    def begin(script, **environment):
        words = {"start_new_session": True, "stdout": subprocess.PIPE, "text": True}
        begun.append(subprocess.Popen(["sh", "-c", script], env=os.environ | environment, **words))
        return begun[-1], begun[-1].stdout.readline().strip()

    yield begin
    for one in begun:
        for left in psutil.process_iter():
            if left.pid == one.pid or _session(left) == one.pid:
                left.kill()
        one.wait()
        one.stdout.close()


def _session(process):
    try:
        return os.getsid(process.pid)
    except OSError:
        return None


def service_of(pid, url="", **changes):
    began = psutil.Process(pid).create_time() if psutil.pid_exists(pid) else 1.0
    return replace(Service("mlflow", pid, url, "mlflow.log", began), **changes)


def test_a_server_answers_also_by_a_refusal_and_nobody_does_not():
    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(401)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Refuses) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert answers(f"http://127.0.0.1:{server.server_port}")
        thread.join()
    assert not answers("http://127.0.0.1:9")


def test_a_service_runs_as_long_as_its_own_process_is_there_and_not_a_later_one_of_its_id(process):
    child, _ = process("echo ready; exec sleep 600")
    service = service_of(child.pid)
    assert service.running
    assert not replace(service, started_at=service.started_at - 100).running
    child.kill()
    wait_for(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    assert not service.running  # ended, though nobody has asked how
    assert not service_of(GONE).running


def test_what_is_stored_is_read_again_and_a_damaged_file_is_none(store):
    assert folder() == store.resolve() / "services"
    assert stored("mlflow") is None
    folder().mkdir(parents=True)
    service = service_of(GONE, "http://127.0.0.1:9", addresses={"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"})
    file = folder() / "mlflow.json"
    write_private(file, json.dumps(asdict(service)))
    assert stored("mlflow") == service
    file.chmod(0o644)
    assert stored("mlflow") is None  # others may have opened the file before it was made private
    file.chmod(0o600)
    for damaged in ("{", '{"name": "mlflow"}', json.dumps(asdict(service) | {"port": 1})):
        write_private(file, damaged)
        assert stored("mlflow") is None


@pytest.mark.parametrize(
    "changed", [{"pid": 1}, {"pid": 0}, {"pid": -1}, {"pid": "7"}, {"name": "../../victim"}, {"url": None}], ids=str
)
def test_a_state_file_that_names_no_process_of_up_is_none(changed):
    folder().mkdir(parents=True)
    write_private(folder() / "mlflow.json", json.dumps(asdict(service_of(GONE)) | changed))
    assert stored("mlflow") is None


def test_a_process_of_another_user_is_not_stopped(process, monkeypatch):
    child, _ = process("echo ready; exec sleep 600")
    service, me = service_of(child.pid), os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: me + 1)
    with pytest.raises(ValueError, match=rf"^mlflow must be a process of yours .*, got process {child.pid} of user "):
        stop(service)
    assert service.running


def test_a_service_that_answers_is_returned_stored_and_in_a_session_of_its_own_until_it_is_stopped(monkeypatch):
    monkeypatch.setenv("LEFT_OUT", "1")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    told = {"PLACE": "here"}
    started = start("web", [*SERVE, str(port)], {"PLACE": "here"}, url=url, health=f"{url}/none", addresses=told)
    try:
        assert (started.name, started.url, started.addresses) == ("web", url, told)
        assert started.log == str(folder() / "web.log")
        assert stored("web") == started
        assert [stat.S_IMODE(path.stat().st_mode) for path in (folder(), folder() / "web.json")] == [0o700, 0o600]
        assert started.running
        assert os.getsid(started.pid) == started.pid
        environment = psutil.Process(started.pid).environ()
        assert environment["PLACE"] == "here"
        assert "LEFT_OUT" not in environment
    finally:
        stop(started)
    assert stored("web") is None
    assert not started.running
    assert not answers(url)


def test_a_service_that_ends_is_refused_with_the_end_of_its_log_and_no_file_of_it_is_left():
    lines = "; ".join(f"echo line {number}" for number in range(12))
    with pytest.raises(ValueError, match="it did not") as refused:
        start("web", ["sh", "-c", f"{lines}; exit 3"], {}, url="", health="http://127.0.0.1:9/health")
    said = str(refused.value).splitlines()
    assert said[0] == (f"web must answer at http://127.0.0.1:9/health, it did not. The end of {folder() / 'web.log'}:")
    assert said[1:] == [f"line {number}" for number in range(2, 12)]
    assert stored("web") is None


def test_a_service_that_does_not_answer_in_time_is_stopped(monkeypatch):
    monkeypatch.setattr("flows.services.service._START_SECONDS", 0.3)
    begun = []
    monkeypatch.setattr("flows.services.service.answers", lambda url: begun.append(stored("web").pid))
    with pytest.raises(ValueError, match="web must answer at http://127.0.0.1:9"):
        start("web", ["sleep", "600"], {"PATH": os.environ["PATH"]}, url="", health="http://127.0.0.1:9")
    assert not psutil.pid_exists(begun[0])


def test_a_service_is_ended_with_all_that_it_has_started_also_what_does_not_listen(process):
    child, other = process(f"sh -c {STUBBORN!r} & echo $!; wait".replace("echo ready; ", ""))
    assert psutil.pid_exists(int(other))
    stop(service_of(child.pid))
    child.wait()
    wait_for(lambda: not psutil.pid_exists(int(other)) or psutil.Process(int(other)).status() == "zombie")


@pytest.mark.parametrize(("url", "of_store", "ended"), [("http://a", True, 1), ("", True, 0), ("http://a", False, 0)])
def test_what_a_server_has_left_is_ended_where_it_is_of_this_store(process, store, url, of_store, ended):
    """What a worker has left, its flow runs, and what another store has under the same id, goes on."""
    home = str(store.resolve() if of_store else store / "another")
    child, left = process("sleep 600 >/dev/null & echo $!", G2RPO_HOME=home)
    child.wait()
    stop(service_of(child.pid, url, started_at=1.0))
    there = psutil.pid_exists(int(left)) and psutil.Process(int(left)).status() != psutil.STATUS_ZOMBIE
    assert there == (not ended)


def test_a_service_is_given_the_environment_the_whole_path_of_the_store_and_no_telemetry(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("G2RPO_HOME", "within")
    monkeypatch.setenv("HF_HOME", "/somewhere")
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    environment = plain_environment()
    quiet = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    assert quiet.items() <= environment.items()
    assert environment["HF_HOME"] == "/somewhere"
    assert environment["G2RPO_HOME"] == str(tmp_path.resolve() / "within")


def test_a_server_of_somebody_else_at_its_address_is_not_taken_for_it(store, monkeypatch):
    monkeypatch.setattr("flows.services.service._START_SECONDS", 2)
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        health = f"http://127.0.0.1:{stranger.server_port}/health"
        assert answers(health)
        with pytest.raises(ValueError, match=f"web must answer at {health}, it did not"):
            start("web", ["sleep", "600"], {"PATH": os.environ["PATH"]}, url="", health=health)
        stranger.shutdown()
