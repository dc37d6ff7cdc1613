"""The reference server around a reward that a test holds back, and requests that are none."""

import asyncio
import socket
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import torch
from reward_servers import running
from score_requests import png
from waiting import wait_for

from flows.reward_server import app as reward_app
from flows.reward_server.app import Served
from flows.reward_server.serve import server_of
from g2rpo.rewards.protocol import RewardError

PIN = {"model": "lengths", "revision": "r1"}
BEARER = {"Authorization": "Bearer secret"}


class Lengths:
    """The length of each text, once a test lets it; refuses `bad` texts, and gives NaN for `nan`."""

    name, module = "lengths", None

    def __init__(self):
        self.free = threading.Event()
        self.renew()

    def renew(self):
        self.free.set()
        self.begun = threading.Semaphore(0)
        self.texts, self.shapes = [], []

    def score(self, images, texts):
        self.texts.append(list(texts))
        self.shapes.append(tuple(images.shape))
        self.begun.release()
        assert self.free.wait(30)
        if "bad" in texts:
            raise RewardError("a text that cannot be judged")
        if "broken" in texts:
            raise RuntimeError("out of memory")
        return torch.tensor([float("nan") if text == "nan" else float(len(text)) for text in texts])


@pytest.fixture(scope="module")
def server():
    """A server of a reward of these tests' own."""
    reward = Lengths()
    server = server_of(Served(reward, **PIN, max_batch=4, device=torch.device("cpu")), None)
    with running(server) as url:
        address = httpx.URL(url)
        yield types.SimpleNamespace(reward=reward, server=server, url=url, host=address.host, port=address.port)
        reward.free.set()


@pytest.fixture
def lengths(server):
    """The server, and its reward as new."""
    server.reward.renew()
    return server


def asked(*texts, **changes):
    return PIN | {"items": [{"text": text, "image": png()} for text in texts]} | changes


def post(url, body, **headers):
    return httpx.post(f"{url}/v1/score", json=body, headers=headers, timeout=30)


def test_pictures_of_one_request_may_differ_in_size(lengths):
    body = asked("a", "bb", "ccc", "dddd")
    body["items"][1]["image"] = png(8, 2)
    body["items"][3]["image"] = png(8, 2)
    assert post(lengths.url, body).json() == PIN | {"scores": [1, 2, 3, 4], "errors": []}
    assert lengths.reward.shapes == [(2, 3, 4, 4), (2, 3, 2, 8)]


def test_what_cannot_be_judged_is_told_item_by_item_and_the_rest_is_scored(lengths):
    said = post(lengths.url, asked("a", "nan", "bad", "dddd")).json()
    assert said["scores"] == [1, None, None, 4]
    assert said["errors"] == [
        {"item": 1, "error": "The reward gave nan."},
        {"item": 2, "error": "a text that cannot be judged"},
    ]


def test_a_reward_that_breaks_is_an_error_and_the_next_request_is_answered(lengths, caplog):
    assert post(lengths.url, asked("broken")).status_code == 500
    wait_for(lambda: "out of memory" in caplog.text)  # it is logged after the answer
    assert post(lengths.url, asked("a")).json()["scores"] == [1]


@pytest.mark.parametrize(
    ("change", "status", "words", "item"),
    [
        ({"items": []}, 413, "1 to 4 items", None),
        ({"revision": "r2"}, 409, "has model 'lengths' of revision 'r1'", None),
        ({"items": [{"text": "a", "image": png()}, {"text": "b", "image": "no base64"}]}, 422, "whole PNG", 1),
    ],
)
def test_a_bad_request_is_refused_in_words(lengths, change, status, words, item):
    said = post(lengths.url, asked("a") | change)
    assert said.status_code == status
    assert words in said.json()["error"]
    assert said.json().get("item") == item


def test_a_request_too_large_is_refused_though_it_does_not_say_its_size(lengths, monkeypatch):
    monkeypatch.setattr(reward_app, "MAX_BODY_BYTES", 1000)
    said = httpx.post(f"{lengths.url}/v1/score", content=(1000 * b" " for _ in range(1000)))
    assert said.status_code == 413
    assert "At most 1000 bytes per request are accepted, got 1000000" in said.json()["error"]


def test_a_request_that_does_not_come_in_is_given_up(lengths, monkeypatch):
    monkeypatch.setattr(reward_app, "_READ_SECONDS", 0.1)
    with socket.create_connection((lengths.host, lengths.port), timeout=20) as connection:
        connection.sendall(b"POST /v1/score HTTP/1.1\r\nHost: judge\r\nContent-Length: 9\r\n\r\n{")
        assert connection.recv(20).startswith(b"HTTP/1.1 408 ")
    assert post(lengths.url, asked("a")).json()["scores"] == [1]


def test_one_request_is_scored_at_a_time_and_one_too_many_is_told_when_to_come_back(lengths):
    lengths.reward.free.clear()
    most = reward_app._MAX_REQUESTS
    with ThreadPoolExecutor(most + 3) as threads:
        told = [threads.submit(post, lengths.url, asked("a")) for _ in range(most + 3)]
        wait_for(lambda: sum(one.done() for one in told) == 3)
        assert len(lengths.reward.texts) == 1
        lengths.reward.free.set()
        told = [one.result() for one in told]
    assert sorted(one.status_code for one in told) == most * [200] + 3 * [503]
    assert {one.headers.get("Retry-After") for one in told if one.status_code == 503} == {"1"}
    assert lengths.reward.texts == most * [["a"]]


def test_a_request_whose_sender_has_gone_is_not_scored(lengths):
    lengths.reward.free.clear()
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(post, lengths.url, asked("a"))
        lengths.reward.begun.acquire()
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{lengths.url}/v1/score", json=asked("gone"), timeout=0.3)
        wait_for(lambda: len(lengths.server.server_state.connections) == 1)
        lengths.reward.free.set()
        assert first.result().status_code == 200
    assert post(lengths.url, asked("b")).status_code == 200
    assert lengths.reward.texts == [["a"], ["b"]]


def in_process(app, *requests):
    """The answers of an application that is begun and ended around them, and of one request after that."""

    async def answers():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://judge") as client:
            async with app.router.lifespan_context(app):
                said = [await client.request(*words, **more) for *words, more in requests]
            with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
                await client.post("/v1/score", json=asked("a"), headers=BEARER)
        return said

    return asyncio.run(answers())


def test_only_those_with_the_token_are_answered_and_with_the_server_its_thread_ends():
    app = reward_app.reward_app(Served(Lengths(), **PIN, max_batch=4, device=torch.device("cpu")), "secret")
    another = {"Authorization": "Bearer secre"}
    unknown, wrong, described, scored = in_process(
        app,
        ("GET", "/v1/reward", {}),
        ("POST", "/v1/score", {"json": asked("a"), "headers": another}),
        ("GET", "/v1/reward", {"headers": BEARER}),
        ("POST", "/v1/score", {"json": asked("ab"), "headers": BEARER}),
    )
    for refused in (unknown, wrong):
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert "The token of this server is required in the header Authorization: Bearer TOKEN." in refused.text
    assert described.json() == PIN | {"name": "lengths", "max_batch": 4}
    assert scored.json() == PIN | {"scores": [2.0], "errors": []}
