import socket
import threading
from contextlib import contextmanager

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from reward_servers import reply as saying
from reward_servers import scripted

from flows.common.processes import free_port
from flows.common.servers import login_refused, prefect_api, reply, require_answer

API = "http://127.0.0.1:4200/api"


@contextmanager
def nobody():
    yield f"http://127.0.0.1:{free_port()}"


@contextmanager
def silence():
    """A server that takes a connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def no_http():
    """A server that speaks another protocol."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak():
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

        speaking = threading.Thread(target=speak)
        speaking.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        speaking.join()


@pytest.mark.parametrize("status", [200, 401, 404, 503])
def test_a_reply_is_the_status_be_it_a_refusal(status):
    with scripted(saying(b"", status=status)) as server:
        assert reply(f"{server.url}/health") == status
        assert server.asked[0].path == "/health"


def test_a_redirection_is_followed():
    with scripted(saying(b"", status=302, Location="/login"), saying(b"")) as server:
        assert reply(f"{server.url}/health") == 200
        assert server.asked[1].path == "/login"


@pytest.mark.parametrize(
    ("server", "told"), [(nobody, "Connection refused"), (silence, "timed out"), (no_http, "SSH-2.0-OpenSSH_9.6")]
)
def test_where_no_reply_comes_the_error_says_why(server, told):
    with server() as url:
        assert told in str(reply(url, seconds=0.2))


@pytest.mark.parametrize("status", [200, 401, 500])
def test_any_answer_of_a_required_server_will_do(status):
    with scripted(saying(b"", status=status)) as server:
        require_answer(server.url, "the MLflow server", "correct tracking.uri")
        assert len(server.asked) == 1


@pytest.mark.parametrize(("server", "got"), [(nobody, "Connection refused"), (no_http, "SSH-2.0-OpenSSH_9.6")])
def test_a_required_server_that_does_not_answer_is_refused_with_a_remedy(server, got):
    with server() as url, pytest.raises(ValueError) as refused:
        require_answer(url, "the MLflow server", "correct tracking.uri")
    told = str(refused.value)
    assert told.startswith(f"the MLflow server must answer at {url}, got: ")
    assert got in told
    assert told.endswith(". Start it, or correct tracking.uri.")


def refusal(status, **headers):
    request = httpx.Request("POST", f"{API}/flows/", headers=headers)
    return httpx.HTTPStatusError("refused", request=request, response=httpx.Response(status, request=request))


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(("headers", "got"), [({}, "none"), ({"Authorization": "Basic eDp5"}, "another login")])
def test_a_refused_login_is_told_with_the_variable_that_sets_it(status, headers, got):
    assert str(login_refused(refusal(status, **headers))) == (
        f"The Prefect API requires the login of its server, got {got}: it answers {status} at "
        f"{API}/flows/. Set PREFECT_API_AUTH_STRING to name:password."
    )


@pytest.mark.parametrize("error", [refusal(404), refusal(500), OSError("no route"), ValueError("401")])
def test_another_error_is_no_refused_login(error):
    assert login_refused(error) is None


def test_the_configured_api_is_that_of_the_present_settings():
    with temporary_settings({PREFECT_API_URL: API}):
        assert prefect_api() == API
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert prefect_api() is None
