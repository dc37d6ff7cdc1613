"""Servers that lie: none of what they say becomes a score."""

import gzip
import json

import pytest
import torch
from reward_client import SCORES, TEXTS, judge, pictures, refusal
from reward_servers import PIN, described, reply, scored, scripted

from g2rpo.rewards import remote
from g2rpo.rewards.protocol import RewardError


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch):
    monkeypatch.setattr(remote, "_BACKOFF_SECONDS", 0.01)


LIES = {
    "NaN": "nan",
    "Infinity": "inf",
    "-Infinity": "-inf",
    "null": "None",
    '"0.5"': "'0.5'",
    "true": "True",
    "[0.5]": "[0.5]",
    "{}": "{}",
    "1e400": "inf",
    "3.5e38": "3.5e+38",
    "1" + 400 * "0": "10000",
}


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie[:9])
def test_a_score_that_is_no_finite_number_is_refused_with_its_row(lie):
    body = b'{"model": "a-judge", "revision": "r1", "scores": [%s]}' % lie.encode()
    with scripted(scored(), reply(body)) as server:
        error = refusal(server)
    assert len(server.asked) == 2
    assert f"scores[0] must be a finite number within fp32, got {LIES[lie]}" in str(error)
    assert error.row == 4


def test_the_largest_number_of_fp32_is_a_score():
    largest = torch.finfo(torch.float32).max
    with scripted(scored(largest, -largest)) as server:
        assert judge(server.url).score(pictures(2), TEXTS[:2]).tolist() == [largest, -largest]


@pytest.mark.parametrize(
    ("body", "required", "got"),
    [
        (PIN | {"scores": [1, 2, 3]}, "a list of 4 numbers", "got 3."),
        (PIN | {"scores": [1, 2, 3, 4, 5]}, "a list of 4 numbers", "got 5."),
        (PIN | {"scores": {"0": 1}}, "a list of 4 numbers", "got {'0': 1}"),
        (PIN, "a list of 4 numbers", "got None"),
        (PIN | {"scores": SCORES[:4], "errors": "none"}, "`errors` must be a list of objects", "got 'none'"),
        (PIN | {"scores": SCORES[:4], "errors": [3]}, "`errors` must be a list of objects", "got [3]"),
        ([PIN], "a JSON object", "got [{"),
        (b"", "a JSON object", "got no text"),
        (b"<html><h1>502 Bad Gateway</h1>", "a JSON object", "got <html>"),
        (b'{"model": "a-judge", "revision": "r1", "scores": [1, 2, 3', "a JSON object", "got {"),
        (b"[" * 100_000, "a JSON object", "got [["),
        (b'{"scores": [1%s]}' % (5000 * b"0"), "a JSON object", "got {"),
        (b"\xff\xfe\x00{", "a JSON object", "got"),
        (gzip.compress(json.dumps(PIN | {"scores": SCORES[:4]}).encode(), mtime=0), "a JSON object", "got"),
        (b" " * 2**20 + json.dumps(PIN | {"scores": SCORES[:4]}).encode(), "at most 1048576 bytes", "got more"),
        (PIN | {"model": "b-judge", "scores": SCORES[:4]}, "model 'a-judge'", "got 'b-judge'"),
        (PIN | {"revision": None, "scores": SCORES[:4]}, "revision 'r1'", "got None"),
        ({"scores": SCORES[:4]}, "model 'a-judge'", "got None"),
    ],
)
def test_a_reply_that_is_none_is_refused_at_once(body, required, got):
    with scripted(reply(body)) as server:
        error = refusal(server)
    assert len(server.asked) == 1
    assert f"Reward vlm at {server.url}/v1/score: " in str(error)
    assert required in str(error)
    assert got in str(error)
    assert len(str(error)) < 700


def test_a_reply_without_an_end_is_refused():
    def answer(handler, asked):
        handler.send_response(200)
        handler.end_headers()
        while not server.over.is_set():
            handler.wfile.write(b" " * 2**16)

    with scripted(answer) as server:
        assert "at most 1048576 bytes" in str(refusal(server))


def test_a_reply_of_another_revision_in_the_middle_of_a_batch_is_refused():
    with scripted(scored(), scored(revision="r2")) as server:
        error = refusal(server)
    assert "revision 'r1' is required, got 'r2'. Set rewards.vlm.revision" in str(error)


def test_a_picture_that_could_not_be_judged_is_named_with_its_row_and_is_no_zero():
    failed = {"scores": [1.0, None], "errors": [{"item": 1, "error": "no final score"}]}
    with scripted(scored(), scored(**failed)) as server, pytest.raises(RewardError) as caught:
        judge(server.url, batch=3).score(pictures(), TEXTS)
    assert "got 'no final score' (1 of 2 pictures failed)" in str(caught.value)
    assert caught.value.row == 4


@pytest.mark.parametrize(
    "answer", [scored(errors=[{"item": 0, "error": "\x1b[2J\x07\u202eno"}]), reply(b"\x1b[2J\x07no", 422)]
)
def test_the_terminal_does_not_obey_a_server(answer):
    with scripted(answer) as server:
        error = str(refusal(server))
    assert "[2J" in error
    assert error.isprintable()


def test_a_server_is_checked_by_what_it_says_of_itself():
    with scripted(described()) as server:
        judge(server.url, batch=8).check()
    assert [(asked.method, asked.path) for asked in server.asked] == [("GET", "/v1/reward")]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "b-judge"}, "model 'a-judge' is required, got 'b-judge'. Set rewards.vlm.model"),
        ({"revision": "r2"}, "revision 'r1' is required, got 'r2'. Set rewards.vlm.revision"),
        ({"revision": 1}, "revision 'r1' is required, got 1"),
        ({"max_batch": 3}, "at most `max_batch` = 3 pictures per request are taken, got rewards.vlm.batch = 4. Lower"),
        ({"max_batch": None}, "`max_batch` must be an integer of at least 1, got None"),
        ({"max_batch": True}, "`max_batch` must be an integer of at least 1, got True"),
        ({"max_batch": float("inf")}, "`max_batch` must be an integer of at least 1, got inf"),
    ],
)
def test_a_server_that_judges_otherwise_is_refused_by_the_check(changes, words):
    with scripted(described(**changes)) as server, pytest.raises(RewardError) as caught:
        judge(server.url).check()
    assert f"Reward vlm at {server.url}/v1/reward: {words}" in str(caught.value)
    assert len(server.asked) == 1


def test_a_check_waits_for_a_server_that_is_loading_and_asks_for_its_token():
    with scripted(reply(b"loading", 503), described()) as server:
        judge(server.url).check()
    assert len(server.asked) == 2
    with scripted(reply(b"", 401)) as server, pytest.raises(RewardError, match=r"rewards\.vlm\.token_env"):
        judge(server.url).check()
