"""Requests of a reward server read, and refused in words where they are none."""

import json

import numpy as np
import pytest
import torch
from score_requests import a_png_that_says_it_is, png

from flows.reward_server import request as module
from flows.reward_server.request import RequestError, ScoreRequest, read_request

PIN = {"model": "lengths", "revision": "r1"}


def asked(*texts, **changes):
    return PIN | {"items": [{"text": text, "image": png()} for text in texts]} | changes


def refusal(body):
    with pytest.raises(RequestError) as caught:
        read_request(body if isinstance(body, bytes) else json.dumps(body).encode(), 4)
    return caught.value


def test_a_request_is_read_as_texts_and_pictures_of_the_sizes_sent():
    body = asked("a", "bb")
    body["items"][1]["image"] = png(8, 2)
    found = read_request(json.dumps(body).encode(), 4)
    assert (found.model, found.revision, found.texts) == ("lengths", "r1", ["a", "bb"])
    assert [(picture.shape, picture.dtype) for picture in found.pictures] == [
        ((4, 4, 3), np.uint8),
        ((2, 8, 3), np.uint8),
    ]


def test_pictures_of_one_size_make_a_batch_in_the_order_of_the_items():
    sizes = [(4, 4, 3), (2, 8, 3), (4, 4, 3), (8, 2, 3), (2, 8, 3)]
    request = ScoreRequest("m", "r", [""] * 5, [np.zeros(size, np.uint8) for size in sizes])
    assert request.groups() == [[0, 2], [1, 4], [3]]


def test_a_batch_has_channels_first_and_values_from_0_to_1():
    pictures = [np.zeros((2, 4, 3), np.uint8), np.full((2, 4, 3), [255, 51, 0], np.uint8)]
    images = ScoreRequest("m", "r", ["", ""], pictures).images([1, 0], torch.device("cpu"))
    assert images.shape == (2, 3, 2, 4)
    assert images[:, :, 1, 3].tolist() == [pytest.approx([1.0, 0.2, 0.0]), [0.0, 0.0, 0.0]]


def test_a_refusal_carries_its_status_words_item_and_when_to_come_back():
    error = RequestError(503, "full", retry_after=1)
    assert (error.status, error.message, error.item, error.retry_after, str(error)) == (503, "full", None, 1, "full")
    assert RequestError(422, "none", 3).item == 3


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"items": []}, 413, "1 to 4 items per request are accepted, got 0."),
        ({"items": 5 * [{"text": "a", "image": png()}]}, 413, "1 to 4 items per request are accepted, got 5."),
        ({"items": None}, 422, "items: "),
        ({"model": 3}, 422, "model: "),
        ({"extra": 3}, 422, "extra: "),
    ],
)
def test_a_bad_request_is_refused_in_words(change, status, words):
    error = refusal(asked("a") | change)
    assert (error.status, error.item) == (status, None)
    assert words in error.message


@pytest.mark.parametrize(
    ("item", "status", "words"),
    [
        ({"text": 3, "image": png()}, 422, "items.1.text: "),
        ({"text": "a"}, 422, "items.1.image: Field required"),
        ({"text": "a", "image": "no base64"}, 422, "whole PNG"),
        ({"text": "a", "image": ""}, 422, "whole PNG"),
        ({"text": "a", "image": png()[:-40]}, 422, "whole PNG"),
        ({"text": "a", "image": png(form="JPEG")}, 422, "whole PNG"),
        ({"text": "a", "image": png(mode="RGBA")}, 422, "got mode RGBA"),
        ({"text": "a", "image": a_png_that_says_it_is(2**13, 2**13 + 1)}, 413, "67108864 pixels"),
        ({"text": "a", "image": a_png_that_says_it_is(2**13, 2**13 - 1)}, 422, "whole PNG"),
        ({"text": "a", "image": a_png_that_says_it_is(2**16, 2**16)}, 413, "67108864 pixels"),
    ],
)
def test_a_bad_item_is_refused_with_its_number(item, status, words):
    body = asked("a", "b")
    body["items"][1] = item
    error = refusal(body)
    assert (error.status, error.item) == (status, 1)
    assert words in error.message


def test_all_pictures_of_a_request_together_are_bounded(monkeypatch):
    monkeypatch.setattr(module, "_MAX_PIXELS", 35)
    assert len(read_request(json.dumps(asked("a", "b")).encode(), 4).pictures) == 2
    error = refusal(asked("a", "b", "c"))
    assert (error.status, error.item) == (413, 2)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"items": NaN}'])
def test_what_is_no_request_is_refused(body):
    error = refusal(body)
    assert error.status == 422
    assert "docs/remote-reward.md has the fields." in error.message
