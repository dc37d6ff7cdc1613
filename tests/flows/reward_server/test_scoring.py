"""The thread that scores, and what it makes of pictures that cannot be scored."""

import json
import threading

import pytest
import torch
from lengths_reward import PIN, Lengths, asked, served
from score_requests import png

from flows.reward_server import scoring as module
from flows.reward_server.request import RequestError
from flows.reward_server.scoring import Job, Scoring, scored


def body(*texts, **images):
    request = asked(*texts)
    for item, image in images.items():
        request["items"][int(item[1:])]["image"] = image
    return json.dumps(request).encode()


def staying():
    return False


@pytest.fixture
def reward():
    return Lengths()


@pytest.fixture
def scoring(reward):
    """The thread, with a first request that it holds."""
    scoring = Scoring(served(reward))
    reward.free.clear()
    scoring.start()
    first = scoring.add("first", body("first"), staying)
    reward.begun.acquire()
    yield scoring
    reward.free.set()
    assert first.reply.result(30)["scores"] == [5]
    scoring.close()
    scoring._thread.join(30)
    assert not scoring._thread.is_alive()


def test_a_served_reward_is_pinned_by_model_and_revision(reward):
    assert served(reward).pin == PIN


def test_pictures_of_one_request_may_differ_in_size(reward):
    reply = scored(served(reward), body("a", "bb", "ccc", "dddd", _1=png(8, 2), _3=png(8, 2)))
    assert reply == PIN | {"scores": [1, 2, 3, 4], "errors": []}
    assert reward.shapes == [(2, 3, 4, 4), (2, 3, 2, 8)]


def test_each_item_has_its_score_or_its_error(reward, caplog):
    reply = scored(served(reward), body("a", "nan", "bad", "dddd", _0="no base64"))
    assert reply["scores"] == [None, None, None, 4]
    assert reply["errors"] == [
        {"item": 0, "error": "A whole PNG in base64 is required, got none: Error."},
        {"item": 1, "error": "The reward gave nan."},
        {"item": 2, "error": "a text that cannot be judged"},
    ]
    assert caplog.text == ""


def test_a_picture_that_breaks_the_reward_is_an_error_of_its_item_and_is_logged(reward, caplog):
    reply = scored(served(reward), body("a", "bb", "ccc", _1=png(5, 4), _2=png(5, 4)))
    assert reply["scores"] == [1, None, None]
    assert [error["item"] for error in reply["errors"]] == [1, 2]
    assert "RuntimeError: mat1 and mat2 shapes cannot be multiplied" in reply["errors"][0]["error"]
    assert "Reward lengths failed for a picture." in caplog.text


def test_a_machine_that_is_full_is_no_error_of_a_picture(reward):
    with pytest.raises(torch.OutOfMemoryError):
        scored(served(reward), body("full"))


def test_an_error_is_one_short_line_that_no_terminal_obeys(reward, monkeypatch):
    def refuse(images, texts):
        raise ValueError("\x1b[2J\n" + 1000 * "x")

    monkeypatch.setattr(reward, "score", refuse)
    (error,) = scored(served(reward), body("a"))["errors"]
    assert error["error"] == "\ufffd[2J " + 195 * "x" + "..."


def test_requests_wait_while_one_is_scored_and_clients_take_turns(scoring, reward):
    jobs = [scoring.add(name, body(text), staying) for name, text in (("a", "a1"), ("a", "a2"), ("b", "b1"))]
    assert reward.texts == [["first"]]
    reward.free.set()
    assert [job.reply.result(30)["scores"] for job in jobs] == [[2], [2], [2]]
    assert reward.texts == [["first"], ["a1"], ["b1"], ["a2"]]


def test_a_request_that_is_given_up_or_whose_client_has_gone_is_not_scored(scoring, reward):
    given_up = scoring.add("a", body("given up"), staying)
    scoring.add("b", body("gone"), lambda: True)
    last = scoring.add("c", body("last"), staying)
    scoring.give_up(given_up)
    reward.free.set()
    last.reply.result(30)
    assert reward.texts == [["first"], ["last"]]


def test_a_request_that_fails_or_is_refused_does_not_end_the_thread(scoring, reward):
    full, refused, last = (scoring.add("a", words, staying) for words in (body("full"), b"{", body("last")))
    reward.free.set()
    with pytest.raises(torch.OutOfMemoryError):
        full.reply.result(30)
    with pytest.raises(RequestError):
        refused.reply.result(30)
    assert last.reply.result(30)["scores"] == [4]


def test_a_cancelled_reply_is_not_computed(scoring, reward):
    cancelled, last = scoring.add("a", body("cancelled"), staying), scoring.add("b", body("last"), staying)
    cancelled.reply.cancel()
    reward.free.set()
    last.reply.result(30)
    assert reward.texts == [["first"], ["last"]]


def test_who_has_most_requests_loses_one_to_a_newcomer_and_is_told(scoring):
    greedy = [scoring.add("greedy", body("x"), staying) for _ in range(module._MAX_WAITING)]
    scoring.add("newcomer", body("y"), staying)
    with pytest.raises(RequestError, match="fewer requests") as caught:
        greedy[-1].reply.result(0)
    assert caught.value.status == 429
    for job in greedy:
        scoring.give_up(job)


def test_those_refused_are_told_to_come_back_when_the_queue_will_be_empty(reward):
    scoring = Scoring(served(reward))
    assert scoring.retry_after() == 1
    for _ in range(20):
        scoring.add("a", body("a"), staying)
    scoring._seconds = 0.21
    assert scoring.retry_after() == 5
    scoring._seconds = 100.0
    assert scoring.retry_after() == 30


def test_the_time_of_a_request_is_an_average_over_the_last_ones(reward, monkeypatch):
    moments = iter([0.0, 8.0, 10.0, 12.0])
    monkeypatch.setattr(module, "time", type("Clock", (), {"monotonic": staticmethod(lambda: next(moments))}))
    scoring = Scoring(served(reward))
    jobs = [scoring.add("a", body("a"), staying) for _ in range(2)]
    thread = threading.Thread(target=scoring._work)
    monkeypatch.setattr(scoring, "_turns", OnlyThese(jobs))
    thread.start()
    thread.join()
    assert scoring._seconds == 1 + (2 - 1) / 8


class OnlyThese:
    def __init__(self, jobs: list[Job]):
        self.jobs = jobs

    def take(self):
        return self.jobs.pop(0) if self.jobs else None
