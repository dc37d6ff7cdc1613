"""A reward of this project served: its address, its token, and until when it answers."""

import asyncio
import os
import signal
import socket
import threading

import httpx
import pytest
import torch
from tiny import tiny_params
from waiting import wait_for

from flows.common.processes import free_port
from flows.reward_server.scoring import Served
from flows.reward_server.serve import _listening, serve, server_of, token_from
from g2rpo.rewards.shapes import load_reward
from stages.sources.rewards import reward_digest

TOKEN = "the-token"


def test_a_server_prints_its_address_as_soon_as_it_answers(capsys):
    server = server_of(Served(load_reward("rule_soft"), "rule_soft", "r1", 8, torch.device("cpu")), None)

    async def begin_and_end(listener):
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        await server.startup([listener])
        async with httpx.AsyncClient() as client:
            said = await client.get(f"http://127.0.0.1:{listener.getsockname()[1]}/v1/reward")
        await server.shutdown([listener])
        return said.json()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        said = asyncio.run(begin_and_end(listener))
    assert said == {"name": "rule_soft", "model": "rule_soft", "revision": "r1", "max_batch": 8}
    assert capsys.readouterr().out == f"{url}\n"


def test_a_server_speaks_plain_http_believes_no_proxy_and_gives_requests_time_to_end():
    config = server_of(Served(load_reward("rule_soft"), "rule_soft", "r1", 8, torch.device("cpu")), None).config
    assert (config.ws, config.proxy_headers, config.timeout_graceful_shutdown, config.access_log) == (
        *("none", False),
        *(30, False),
    )


def test_a_reward_is_served_to_those_with_the_token_until_sigterm(capsys):
    """In this process and its main thread, where signals come in."""
    port, ended, said = free_port(), threading.Event(), []
    url = f"http://127.0.0.1:{port}/v1/reward"

    def ask():
        def answers():
            try:
                return ended.is_set() or httpx.get(url).status_code
            except httpx.TransportError:
                return False

        try:
            wait_for(answers)
            if not ended.is_set():
                said.append(httpx.get(url).status_code)
                said.append(httpx.get(url, headers={"Authorization": f"Bearer {TOKEN}"}).json())
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, lambda *_: None)
    client = threading.Thread(target=ask)
    try:
        client.start()
        params = tiny_params("score.micro_batch=8")
        serve(params, "rule_soft", host="127.0.0.1", port=port, token=TOKEN)
    finally:
        ended.set()
        client.join()
        signal.signal(signal.SIGTERM, before)
    revision = reward_digest(params, "rule_soft")
    assert said == [401, {"name": "rule_soft", "model": "rule_soft", "revision": revision, "max_batch": 8}]
    assert capsys.readouterr().out == f"http://127.0.0.1:{port}\n"


def test_two_servers_that_start_at_once_do_not_share_a_port():
    with _listening("127.0.0.1", 0, None) as listener:
        host, port = listener.getsockname()
        assert host == "127.0.0.1"
        with pytest.raises(
            ValueError, match=f"a free address of this machine is required, got 127.0.0.1:{port} .*Choose another"
        ):
            _listening("127.0.0.1", port, None)


def test_a_client_that_comes_before_the_server_is_ready_waits():
    with (
        _listening("127.0.0.1", 0, None) as listener,
        socket.create_connection(listener.getsockname(), timeout=60) as early,
    ):
        early.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        server = server_of(Served(load_reward("rule_soft"), "rule_soft", "r1", 8, torch.device("cpu")), None)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert early.recv(20).startswith(b"HTTP/1.1 200 ")
        finally:
            server.should_exit = True
            thread.join()


@pytest.mark.parametrize("host", ["no.such.invalid", "x" * 64])
def test_a_machine_of_no_known_name_cannot_be_served_on(host):
    with pytest.raises(ValueError, match=rf"--host, --port: a free address of this machine .*got {host}:0"):
        _listening(host, 0, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "0"])
def test_without_a_token_only_this_machine_is_served(host):
    with pytest.raises(ValueError, match=f"--token-env: a token is required to serve on {host}"):
        serve(tiny_params(), "no such reward", host=host, port=0, token=None)


def test_an_address_that_is_taken_is_refused_before_anything_is_loaded():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"--host, --port: a free address .* is required, got 127.0.0.1:{port} "):
            serve(tiny_params(), "no such reward", host="127.0.0.1", port=port, token=None)


def test_an_unknown_reward_is_refused():
    with pytest.raises(ValueError, match="is one of .*, got judge_c"):
        serve(tiny_params(), "judge_c", host="127.0.0.1", port=0, token=None)


@pytest.mark.parametrize("held", ["", "two words", "end\n"])
def test_a_variable_that_holds_no_token_is_refused(monkeypatch, held):
    monkeypatch.setenv("JUDGE_TOKEN", held)
    with pytest.raises(ValueError, match="--token-env JUDGE_TOKEN: a bearer token of letters"):
        token_from("JUDGE_TOKEN")


def test_a_variable_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.delenv("JUDGE_TOKEN", raising=False)
    with pytest.raises(ValueError, match="--token-env JUDGE_TOKEN"):
        token_from("JUDGE_TOKEN")
    assert token_from(None) is None


def test_a_token_is_what_the_named_variable_holds(monkeypatch):
    monkeypatch.setenv("JUDGE_TOKEN", TOKEN)
    assert token_from("JUDGE_TOKEN") == TOKEN
