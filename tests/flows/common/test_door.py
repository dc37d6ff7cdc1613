import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from flows.common.door import Door
from flows.common.login import authorization

HOST = "127.0.0.1:5000"
KNOWN = {"Host": HOST, "Authorization": authorization("lead:secret")}


@pytest.fixture
def door():
    """A client of an application behind the door; it says what it is asked."""

    async def answer(request):
        return PlainTextResponse(request.url.path)

    async def talk(socket):
        await socket.accept()
        await socket.send_text("hello")
        await socket.close()

    methods = ["GET", "POST"]
    routes = [Route("/{path:path}", answer, methods=methods), WebSocketRoute("/events", talk)]
    return TestClient(Door(Starlette(routes=routes), "lead:secret", ["/health"]), base_url=f"http://{HOST}")


@pytest.mark.parametrize("host", ["127.0.0.1:5000", "localhost:5000", "localhost", "[::1]:5000", "LOCALHOST:8080"])
def test_a_request_with_the_login_enters_from_nowhere_and_from_the_servers_own_page(door, host):
    known = KNOWN | {"Host": host}
    assert door.post("/runs", headers=known).text == "/runs"
    assert door.post("/runs", headers=known | {"Origin": f"http://{host}"}).text == "/runs"


@pytest.mark.parametrize(
    "given",
    [None, "", authorization("lead:wrong"), authorization("lead:secret") + "=", "Bearer secret", "Basic é", "Basic"],
)
def test_without_the_login_a_request_is_asked_for_it(door, given):
    headers = {"Host": HOST} | ({"Authorization": given.encode("latin-1")} if given is not None else {})
    for path in ("/", "/runs", "/health/", "//health", "/health/../runs"):
        refused = door.get(path, headers=headers)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"].startswith("Basic ")
        assert "secret" not in refused.text


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:5000", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "[::1", ""]
)
def test_a_name_that_merely_leads_here_is_refused(door, host):
    assert door.get("/runs", headers=KNOWN | {"Host": host}).status_code == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:9", "http://localhost:5000", f"https://{HOST}", "null", ""]
)
def test_a_page_of_another_address_is_refused_in_spite_of_the_login(door, origin):
    assert door.post("/runs", headers=KNOWN | {"Origin": origin}).status_code == 403


def test_two_headers_of_a_kind_are_refused(door):
    twice = [("Host", HOST), ("Authorization", KNOWN["Authorization"]), ("Authorization", KNOWN["Authorization"])]
    assert door.get("/runs", headers=twice).status_code == 401
    assert door.get("/runs", headers=[*KNOWN.items(), ("Host", "evil.example")]).status_code == 403


def test_health_is_open_to_read(door):
    assert door.get("/health", headers={"Host": "evil.example"}).text == "/health"
    assert door.post("/health", headers={"Host": HOST}).status_code == 401


def test_a_socket_enters_as_a_request_does(door):
    with door.websocket_connect("/events", headers=KNOWN) as socket:
        assert socket.receive_text() == "hello"
    for refused in ({"Host": HOST}, KNOWN | {"Origin": "http://evil.example"}):
        with pytest.raises(WebSocketDisconnect), door.websocket_connect("/events", headers=refused):
            pass
