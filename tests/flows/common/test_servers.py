import socket
import threading
from base64 import b64encode
from contextlib import contextmanager
from functools import partial

import httpx
import pytest
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_CLIENT_CUSTOM_HEADERS,
    temporary_settings,
)
from reward_servers import broken, dripping, scripted
from reward_servers import reply as saying

from flows.common.processes import free_port
from flows.common.servers import (
    Answer,
    Server,
    ServerError,
    ask,
    login_refused,
    prefect_api,
    require_prefect,
    require_version,
    without_login,
)

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


def endless(handler, asked):
    """A body that never ends."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(1 << 20))


@pytest.mark.parametrize("status", [200, 401, 404, 503])
def test_an_answer_is_the_status_be_it_a_refusal(status):
    with scripted(saying(b"", status=status)) as server:
        assert ask(f"{server.url}/health", headers={"X-Own": "1"}) == Answer(status)
        assert (server.asked[0].path, server.asked[0].headers["X-Own"]) == ("/health", "1")


def test_the_text_of_an_answer_is_its_body():
    with scripted(saying(b"3.8.8 \xff")) as server:
        assert ask(server.url) == Answer(200, "3.8.8 \ufffd")


def test_a_login_does_not_follow_a_redirect_which_is_told():
    with scripted(saying(b"")) as other, scripted(saying(b"", status=302, Location=f"{other.url}/x\x1b[2J")) as server:
        assert ask(server.url, headers={"Authorization": "Basic secret"}) == Answer(302, f"{other.url}/x [2J")
        assert other.asked == []


@pytest.mark.parametrize(
    ("server", "error"),
    [
        (nobody, "Connection refused"),
        (silence, "timed out"),
        (no_http, "BadStatusLine SSH-2.0-OpenSSH_9.6"),
        (partial(scripted, endless), "HTTPException the answer is over 64 kB"),
        (partial(scripted, broken), "IncompleteRead IncompleteRead(15 bytes read, 985 more expected)"),
    ],
)
def test_where_no_answer_comes_the_error_says_why(server, error):
    with server() as found:
        answer = ask(getattr(found, "url", found), seconds=0.5 if server is silence else 60)
    assert (answer.status, answer.error) == (None, error)


def test_an_answer_that_drips_is_given_up_at_the_deadline():
    over = threading.Event()
    with scripted(dripping(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000, over)) as server:
        assert ask(server.url, seconds=0.3) == Answer(None, error="timed out")
        over.set()


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("file:///etc/passwd", "an address of http or https is required, got file"),
        ("mlflow", "an address of http or https is required, got mlflow"),
        ("http://[::1", "ValueError Invalid IPv6 URL"),
        ("http://127.0.0.1:many/", "InvalidURL nonnumeric port: 'many'"),
        ("http://127.0.0.1/\x00\x1b[31m", "InvalidURL URL can't contain control characters"),
        ("http://a..b/", "UnicodeError"),
    ],
)
def test_an_address_that_is_none_is_an_error_in_words(url, error):
    answer = ask(url)
    assert answer.status is None
    assert answer.error.startswith(error)
    assert answer.error.isprintable()


def test_the_loopback_is_asked_directly_whatever_the_proxies_and_other_hosts_through_them(monkeypatch):
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with scripted(saying(b"proxied")) as proxy, scripted(saying(b"direct")) as server:
        for name in ("all_proxy", "http_proxy"):
            monkeypatch.setenv(name, proxy.url)
            assert ask(server.url).text == "direct"
            assert ask("http://judge.invalid/health").text == "proxied"
            monkeypatch.delenv(name)
        monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:9")
        assert ask("http://judge.invalid/health").error == "unknown url type: socks5"


def test_a_login_in_the_address_is_sent_as_a_header_and_shown_nowhere():
    with scripted(saying(b"")) as server:
        url = server.url.replace("http://", "http://lead:s%40cret@")
        assert ask(f"{url}/a@b").status == 200
        assert server.asked[0].headers["Authorization"] == "Basic bGVhZDpzQGNyZXQ="
        assert server.asked[0].path == "/a@b"
        assert without_login(f"{url}/a") == f"{server.url.replace('http://', 'http://***@')}/a"
    assert without_login("sqlite:////a@b/c.db") == "sqlite:////a@b/c.db"


def server_at(url):
    return Server("mlflow", "the MLflow server", url, "/version", "Start it.", "Log in.", {"Authorization": "Basic x"})


@pytest.mark.parametrize("body", [b"3.17.1", b'"3.8.8.dev3+g1"\n'])
def test_a_required_server_tells_its_version_to_those_with_the_login(body):
    with scripted(saying(body)) as server:
        assert require_version(server_at(server.url)) == body.decode().strip().strip('"')
        assert (server.asked[0].path, server.asked[0].headers["Authorization"]) == ("/version", "Basic x")


@pytest.mark.parametrize(
    ("answer", "got", "remedy"),
    [
        (saying(b"", status=401), "401 at /version: it refuses the login, or requires one", "Log in."),
        (saying(b"", status=403), "403 at /version: it refuses the login, or requires one", "Log in."),
        (saying(b"", status=302, Location="/login"), "a redirect at /version to /login", "Start it."),
        (saying(b"", status=502), "502 and no version of mlflow at /version", "Start it."),
        (saying(b"<!doctype html>"), "200 and no version of mlflow at /version", "Start it."),
        (saying(b"[" * 9999), "200 and no version of mlflow at /version", "Start it."),
        (endless, "no answer: HTTPException the answer is over 64 kB", "Start it."),
    ],
)
def test_a_required_server_that_answers_otherwise_is_refused_with_a_remedy_for_the_cause(answer, got, remedy):
    with scripted(answer) as server, pytest.raises(ServerError) as refused:
        require_version(server_at(server.url.replace("//", "//lead:secret@")))
    shown = server.url.replace("//", "//***@")
    assert refused.value.message == f"the MLflow server must answer at {shown}, got {got}"
    assert refused.value.remedy == remedy
    assert str(refused.value) == f"{refused.value.message}. {remedy}"


def test_a_prefect_api_is_asked_with_the_configured_login_and_headers():
    settings = {PREFECT_API_AUTH_STRING: "lead:secret", PREFECT_CLIENT_CUSTOM_HEADERS: {"X-Gate": "open"}}
    with scripted(saying(b'"3.8.8"')) as server, temporary_settings(settings):
        assert require_prefect(f"{server.url}/api") == "3.8.8"
        (asked,) = server.asked
    assert asked.path == "/api/admin/version"
    assert asked.headers["Authorization"] == f"Basic {b64encode(b'lead:secret').decode()}"
    assert asked.headers["X-Gate"] == "open"


def test_a_prefect_address_without_its_api_is_refused_with_what_it_ends_with():
    with scripted(saying(b"<!doctype html>")) as page, pytest.raises(ServerError) as refused:
        require_prefect(page.url)
    assert refused.value.message.endswith("got 200 and no version of prefect at /admin/version")
    assert "PREFECT_API_URL, which ends with /api" in refused.value.remedy


def test_prefect_cloud_tells_no_version():
    assert require_prefect("https://api.prefect.cloud/api/accounts/1/workspaces/2") == ""


def test_a_password_in_the_address_of_a_required_server_is_not_shown():
    with pytest.raises(ValueError, match=r"must answer at http://\*\*\*@127.0.0.1:\d+/api, got") as refused:
        require_prefect(f"http://lead:secret@127.0.0.1:{free_port()}/api")
    assert "secret" not in str(refused.value)


def refusal(status, **headers):
    request = httpx.Request("POST", f"{API}/flows/", headers=headers)
    return httpx.HTTPStatusError("refused", request=request, response=httpx.Response(status, request=request))


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(("headers", "got"), [({}, "none"), ({"Authorization": "Basic eDp5"}, "another login")])
def test_a_refused_login_is_told_with_the_variable_that_sets_it(status, headers, got):
    assert str(login_refused(refusal(status, **headers))) == (
        f"The Prefect API requires the login of its server, got {got}: it answers {status} at "
        f"{API}/flows/. Set PREFECT_API_AUTH_STRING to name:password of this server; for the one of `g2rpo up`, run: "
        'eval "$(g2rpo status --env)"'
    )


@pytest.mark.parametrize("error", [refusal(404), refusal(500), OSError("no route"), ValueError("401")])
def test_another_error_is_no_refused_login(error):
    assert login_refused(error) is None


def test_the_configured_api_is_that_of_the_present_settings():
    with temporary_settings({PREFECT_API_URL: API}):
        assert prefect_api() == API
    with temporary_settings({PREFECT_API_URL: f"{API}/"}):
        assert prefect_api() == API
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert prefect_api() is None
