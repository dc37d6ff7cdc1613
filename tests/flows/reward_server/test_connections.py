"""Connections that are silent, slow, too many or no HTTP."""

import contextlib
import json
import socket
import time

import pytest
from lengths_reward import asked, post
from waiting import wait_for

from flows.reward_server import connections as module

HEAD = b"POST /v1/score HTTP/1.1\r\nHost: judge\r\nContent-Length: 9\r\n"
BODY = json.dumps(asked("a")).encode()
SCORE = HEAD.replace(b" 9", b" %d" % len(BODY)) + b"\r\n" + BODY
ASK = b"GET /health HTTP/1.1\r\nHost: judge\r\n\r\n"


@contextlib.contextmanager
def connected(server, count=1, sent=b""):
    """So many connections, each of which has sent the same."""
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(count):
            made.append(stack.enter_context(socket.create_connection((server.host, server.port), timeout=60)))
            made[-1].sendall(sent)
        yield made


def protocol_of(server, connection):
    """The server's side of a connection."""
    address, found = connection.getsockname(), []

    def is_there():
        found.extend(one for one in list(server.server.server_state.connections) if one.client == address)
        return found  # the server adds one before it knows its client

    wait_for(is_there)
    return found[0]


def rest(connection):
    """All that comes until the server closes the connection."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(2**16):
            said += part
    return said


def test_silent_connections_keep_nobody_out(lengths):
    with connected(lengths, 70):
        assert post(lengths.url, asked("a")).json()["scores"] == [1]


@pytest.mark.parametrize("limit", ["_MAX_OF_ADDRESS", "_MAX_CONNECTIONS"])
def test_the_longest_idle_connection_makes_room_for_a_new_one(lengths, monkeypatch, limit):
    monkeypatch.setattr(module, limit, 3)
    with connected(lengths, 3, b"GET") as (oldest, *others):
        assert post(lengths.url, asked("a")).json()["scores"] == [1]
        assert rest(oldest) == b""
        others[-1].sendall(ASK[3:])
        assert others[-1].recv(100).startswith(b"HTTP/1.1 200 ")


def test_a_connection_whose_request_is_answered_gives_no_room(lengths, monkeypatch):
    monkeypatch.setattr(module, "_MAX_OF_ADDRESS", 2)
    with connected(lengths, 2, HEAD + b"\r\n"):
        wait_for(lambda: sum(not one.idle for one in list(lengths.server.server_state.connections)) == 2)
        with connected(lengths) as (third,):
            assert rest(third).startswith(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n")


def test_a_connection_that_ends_is_forgotten(lengths):
    with connected(lengths, 3):
        wait_for(lambda: len(lengths.server.server_state.connections) == 3)
        one = next(iter(lengths.server.server_state.connections))
        assert one._all._of_address[lengths.host] == one._all._all == lengths.server.server_state.connections
    wait_for(lambda: not one._all._all)
    assert not one._all._of_address


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: ju"])
def test_a_request_that_does_not_begin_is_given_up(lengths, monkeypatch, sent):
    monkeypatch.setattr(module, "_SECONDS", 0.1)
    with connected(lengths, 1, sent) as (silent,):
        assert rest(silent).startswith(b"HTTP/1.1 408 ")


def test_a_head_that_drips_is_given_up(lengths, monkeypatch):
    monkeypatch.setattr(module, "_SECONDS", 0.2)
    with connected(lengths) as (dripping,), contextlib.suppress(ConnectionError):
        while True:
            dripping.sendall(b"G")
            time.sleep(0.02)


def test_the_rest_of_a_refused_request_may_not_drip(lengths, monkeypatch):
    monkeypatch.setattr(module, "_SECONDS", 0.2)
    with connected(lengths, 1, HEAD.replace(b" 9", b" 999999999") + b"\r\n") as (dripping,):
        assert dripping.recv(20).startswith(b"HTTP/1.1 413 ")
        with contextlib.suppress(ConnectionError):
            while True:
                dripping.sendall(b"x")
                time.sleep(0.02)


def test_a_request_that_is_being_answered_has_time(lengths, monkeypatch):
    monkeypatch.setattr(module, "_SECONDS", 0.05)
    lengths.reward.free.clear()
    with connected(lengths, 1, SCORE) as (waiting,):
        lengths.reward.begun.acquire()
        time.sleep(0.2)
        lengths.reward.free.set()
        assert waiting.recv(20).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_takes_no_reply_is_given_up(lengths, monkeypatch):
    monkeypatch.setattr(module, "_SECONDS", 0.1)
    lengths.reward.free.clear()
    with connected(lengths, 2, SCORE) as (deaf, slow):
        wait_for(lambda: len(lengths.turns) == 1)
        for client, calls in ((deaf, ("pause_writing",)), (slow, ("pause_writing", "resume_writing"))):
            for call in calls:  # as asyncio does when its buffer is full, and has room again
                one = protocol_of(lengths, client)
                one.loop.call_soon_threadsafe(getattr(one, call))
        assert rest(deaf) == b""
        lengths.reward.free.set()
        assert slow.recv(20).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "head", [b"Transfer-Encoding: chunked\r\n", b"transfer-encoding: Chunked\r\n", b"Transfer-Encoding:\tchunked\r\n"]
)
def test_a_request_of_two_lengths_gets_one_answer(lengths, head):
    smuggled = b"POST /v1/score HTTP/1.1\r\nHost: judge\r\nContent-Length: 5\r\n" + head + b"\r\n0\r\n\r\n" + ASK
    with connected(lengths, 1, smuggled) as (connection,):
        said = rest(connection)
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        HEAD + b"Content-Length: 8\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: judge\r\nX: " + 2**17 * b"x",
    ],
)
def test_what_is_no_http_is_refused_and_closed(lengths, sent):
    with connected(lengths, 1, b"") as (connection,):
        with contextlib.suppress(ConnectionError):
            connection.sendall(sent)
        said = rest(connection)
    assert said.startswith((b"HTTP/1.1 400 ", b""))
    assert said.count(b"HTTP/1.1") <= 1
    assert post(lengths.url, asked("a")).json()["scores"] == [1]


def test_no_upgrade_leaves_the_bounds(lengths):
    upgrade = ASK[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n"
    with connected(lengths, 1, upgrade) as (connection,):
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_has_gone_is_known_before_the_loop_sees_it(lengths):
    with connected(lengths) as (client,):
        one = protocol_of(lengths, client)
        assert not one.gone()
        one.loop.call_soon_threadsafe(one.transport.pause_reading)
        client.close()
        wait_for(one.gone)
        one.loop.call_soon_threadsafe(one.transport.abort)
