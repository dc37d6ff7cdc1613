"""What is refused by the head of a request alone."""

import asyncio

import httpx
import pytest
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from flows.reward_server.door import Door, body_size, refusal
from flows.reward_server.request import MAX_BODY_BYTES, RequestError


def answer(*, token=None, path="/v1/reward", **headers):
    """What is answered to a request before whose door no other has a say."""

    async def ask():
        door = Door(PlainTextResponse("inside"), token)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://judge") as client:
            return await client.get(path, headers={key.replace("_", "-"): value for key, value in headers.items()})

    return asyncio.run(ask())


def test_without_a_token_all_may_enter():
    assert answer().text == "inside"


@pytest.mark.parametrize("given", ["", "secret", "Bearer secre", "Bearer secrets", "bearer secret", "Basic secret"])
def test_only_those_with_the_token_may_enter(given):
    refused = answer(token="secret", Authorization=given)
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "The token of this server is required in the header Authorization: Bearer TOKEN." in refused.text
    assert answer(token="secret", Authorization="Bearer secret").text == "inside"


def test_a_token_of_strange_letters_is_another_token():
    strange = "Bearer sm\u00f8rrebr\u00f8d".encode("latin-1")
    assert answer(token="secret", Authorization=strange).status_code == 401


@pytest.mark.parametrize("path", ["/v1/reward", "/v1/score", "/", "/health/", "//health", "/openapi.json"])
def test_the_health_alone_is_open(path):
    assert answer(token="secret", path=path).status_code == 401
    assert answer(token="secret", path="/health").text == "inside"


def test_a_request_of_two_lengths_is_refused_and_its_connection_closed():
    refused = answer(Content_Length="5", Transfer_Encoding="chunked")
    assert (refused.status_code, refused.headers["Connection"]) == (400, "close")
    assert "got both" in refused.json()["error"]


def test_a_request_that_does_not_say_its_length_is_refused():
    refused = answer(Transfer_Encoding="chunked")
    assert (refused.status_code, refused.headers["Connection"]) == (411, "close")
    assert refused.json() == {"error": "Content-Length is required, got Transfer-Encoding."}


def test_a_request_too_large_is_refused_before_it_is_read():
    assert answer(Content_Length=str(MAX_BODY_BYTES)).text == "inside"
    refused = answer(Content_Length=str(MAX_BODY_BYTES + 1))
    assert refused.status_code == 413
    assert "At most 134217728 bytes per request are accepted, got 134217729. Send fewer" in refused.json()["error"]


def test_no_page_of_a_browser_is_served_without_a_token():
    refused = answer(Origin="https://evil.example")
    assert refused.status_code == 403
    assert "Origin" in refused.json()["error"]
    assert answer(token="secret", Authorization="Bearer secret", Origin="https://ours.example").text == "inside"


@pytest.mark.parametrize(("stated", "size"), [(None, 0), ("0", 0), ("12", 12), ("9" * 30, MAX_BODY_BYTES + 1)])
def test_a_size_is_what_the_request_states(stated, size):
    assert body_size(Headers({} if stated is None else {"Content-Length": stated})) == size


def test_a_refusal_says_when_to_come_back_and_which_item_is_at_fault():
    busy = refusal(RequestError(503, "full"), 7)
    assert (busy.status_code, busy.headers["Retry-After"], busy.body) == (503, "7", b'{"error":"full"}')
    assert refusal(RequestError(429, "full")).headers["Retry-After"] == "1"
    assert refusal(RequestError(400, "none", 3)).body == b'{"error":"none","item":3}'
    assert "Retry-After" not in refusal(RequestError(409, "other")).headers
