"""The reference server around a reward that a test holds back, and requests that are none."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from lengths_reward import PIN, Lengths, asked, post, served
from score_requests import png
from waiting import wait_for

from flows.reward_server import app as module
from g2rpo.rewards.remote import CLIENT_HEADER

BEARER = {"Authorization": "Bearer secret"}


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


def test_a_machine_that_is_full_is_an_error_and_the_next_request_is_answered(lengths, caplog):
    assert post(lengths.url, asked("full")).status_code == 500
    wait_for(lambda: "out of memory" in caplog.text)  # it is logged after the answer
    assert post(lengths.url, asked("a")).json()["scores"] == [1]


@pytest.mark.parametrize(
    ("change", "status", "words", "item"),
    [
        ({"items": []}, 413, "1 to 4 items", None),
        ({"revision": "r2"}, 409, "has model 'lengths' of revision 'r1'", None),
        ({"items": [{"text": "a", "image": png()}, {"text": "b"}]}, 400, "items.1.image: Field required", 1),
        ({"items": 3}, 400, "items: ", None),
    ],
)
def test_a_bad_request_is_refused_in_words(lengths, change, status, words, item):
    said = post(lengths.url, asked("a") | change)
    assert said.status_code == status
    assert words in said.json()["error"]
    assert said.json().get("item") == item


def test_a_picture_of_another_size_is_an_error_of_its_own(lengths):
    body = asked("a", "bb", "ccc")
    body["items"][1]["image"], body["items"][2]["image"] = png(5, 4), png(8, 100_000)
    said = post(lengths.url, body)
    assert (said.status_code, said.json()["scores"]) == (200, [1, None, None])
    assert [error["item"] for error in said.json()["errors"]] == [1, 2]


def test_a_request_that_does_not_come_in_is_given_up(lengths, monkeypatch):
    monkeypatch.setattr(module, "_READ_SECONDS", 0.1)
    with socket.create_connection((lengths.host, lengths.port), timeout=20) as connection:
        connection.sendall(b"POST /v1/score HTTP/1.1\r\nHost: judge\r\nContent-Length: 9\r\n\r\n{")
        assert connection.recv(20).startswith(b"HTTP/1.1 408 ")
    assert post(lengths.url, asked("a")).json()["scores"] == [1]


def test_one_request_is_scored_at_a_time_and_one_too_many_is_told_when_to_come_back(lengths, monkeypatch):
    most = 2
    lengths.reward.free.clear()
    monkeypatch.setattr(lengths.turns, "_most", most)
    with ThreadPoolExecutor(most + 4) as threads:
        first = threads.submit(post, lengths.url, asked("a"))
        lengths.reward.begun.acquire()
        told = [threads.submit(post, lengths.url, asked("a"), **{CLIENT_HEADER: "b"}) for _ in range(most + 3)]
        wait_for(lambda: sum(one.done() for one in told) == 3)
        assert len(lengths.reward.texts) == 1
        lengths.reward.free.set()
        told = [one.result() for one in (first, *told)]
    assert sorted(one.status_code for one in told) == (most + 1) * [200] + 3 * [503]
    assert {one.headers.get("Retry-After") for one in told if one.status_code == 503} == {"1"}


def test_clients_of_one_address_take_turns_by_the_names_they_give_themselves(lengths):
    lengths.reward.free.clear()
    with ThreadPoolExecutor(5) as threads:
        told = []
        for name, text in (("", "first"), ("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1")):
            told.append(threads.submit(post, lengths.url, asked(text), **{CLIENT_HEADER: name}))
            wait_for(lambda: len(lengths.turns) == max(0, len(told) - 1) and lengths.reward.texts)
        lengths.reward.free.set()
        assert {one.result().status_code for one in told} == {200}
    assert lengths.reward.texts == [["first"], ["a1"], ["b1"], ["a2"], ["a3"]]


def test_the_bytes_that_a_server_holds_are_bounded(lengths, monkeypatch):
    monkeypatch.setattr(module, "_MAX_HELD_BYTES", 1000)
    said = post(lengths.url, asked(1000 * "a"))
    assert (said.status_code, said.headers["Retry-After"]) == (503, "1")
    assert post(lengths.url, asked("a")).json()["scores"] == [1]


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


def test_what_is_nowhere_is_refused_in_words(lengths):
    assert httpx.get(f"{lengths.url}/v2").json() == {"error": "Not Found. docs/remote-reward.md has the addresses."}
    assert httpx.get(f"{lengths.url}/v1/score").status_code == 405


def in_process(app, *requests):
    """The answers of an application that is begun and ended around them, and of one request after that."""

    async def answers():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://judge") as client:
            async with app.router.lifespan_context(app):
                said = [await client.request(*words, **more) for *words, more in requests]
            said.append(await client.post("/v1/score", json=asked("a"), headers=BEARER))
        return said

    return asyncio.run(answers())


def test_only_those_with_the_token_are_answered_and_with_the_server_its_thread_ends():
    app = module.reward_app(served(Lengths()), "secret")
    another = {"Authorization": "Bearer secre"}
    unknown, wrong, health, described, scored, late = in_process(
        app,
        ("GET", "/v1/reward", {}),
        ("POST", "/v1/score", {"json": asked("a"), "headers": another}),
        ("GET", "/health", {}),
        ("GET", "/v1/reward", {"headers": BEARER}),
        ("POST", "/v1/score", {"json": asked("ab"), "headers": BEARER}),
    )
    assert [refused.status_code for refused in (unknown, wrong)] == [401, 401]
    assert health.json() == {"status": "ok"}
    assert described.json() == PIN | {"name": "lengths", "max_batch": 4}
    assert scored.json() == PIN | {"scores": [2.0], "errors": []}
    assert (late.status_code, late.json()) == (503, {"error": "The server is ending."})
