"""Requests of a reward server read, and refused in words where they are none."""

import base64
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from score_requests import a_png_that_says_it_is, png

from flows.reward_server import request as module
from flows.reward_server.request import RequestError, ScoreRequest, read_request

PIN = {"model": "lengths", "revision": "r1"}


def asked(*texts, **changes):
    return PIN | {"items": [{"text": text, "image": png()} for text in texts]} | changes


def read(body):
    return read_request(body if isinstance(body, bytes) else json.dumps(body).encode(), 4, PIN)


def refusal(body):
    with pytest.raises(RequestError) as caught:
        read(body)
    return caught.value


def test_a_request_is_read_as_texts_and_pictures_of_the_sizes_sent():
    body = asked("a", "bb")
    body["items"][1]["image"] = png(8, 2)
    found = read(body)
    assert (found.texts, found.errors) == (["a", "bb"], {})
    assert {item: (picture.shape, picture.dtype) for item, picture in found.pictures.items()} == {
        0: ((4, 4, 3), np.uint8),
        1: ((2, 8, 3), np.uint8),
    }


def test_pictures_of_one_size_make_a_batch_in_the_order_of_the_items():
    sizes = [(4, 4, 3), (2, 8, 3), (4, 4, 3), (8, 2, 3), (2, 8, 3)]
    pictures = {item: np.zeros(size, np.uint8) for item, size in enumerate(sizes) if item != 2}
    assert ScoreRequest([""] * 5, pictures).groups() == [[0], [1, 4], [3]]


def test_a_batch_has_no_more_pixels_than_the_largest_picture():
    many = np.broadcast_to(np.uint8(0), (1024, 1024, 3))
    large = np.broadcast_to(np.uint8(0), (4096, 4096, 3))
    pictures = dict.fromkeys(range(40), many) | {40: large, 41: large}
    batches = ScoreRequest([""] * 42, pictures).groups()
    assert batches == [list(range(16)), list(range(16, 32)), list(range(32, 40)), [40], [41]]


def test_a_batch_has_channels_first_and_values_from_0_to_1():
    pictures = {3: np.zeros((2, 4, 3), np.uint8), 1: np.full((2, 4, 3), [255, 51, 0], np.uint8)}
    images = ScoreRequest([""] * 4, pictures).images([1, 3], torch.device("cpu"))
    assert images.shape == (2, 3, 2, 4)
    assert images[:, :, 1, 3].tolist() == [pytest.approx([1.0, 0.2, 0.0]), [0.0, 0.0, 0.0]]


def test_a_refusal_has_a_status_words_and_an_item():
    error = RequestError(400, "none", 3)
    assert (error.status, error.message, error.item, str(error)) == (400, "none", 3, "none")
    assert RequestError(503, "full").item is None


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"items": []}, 413, "1 to 4 items per request are accepted, got 0."),
        ({"items": 5 * [{"text": "a", "image": png()}]}, 413, "1 to 4 items per request are accepted, got 5."),
        ({"items": None}, 400, "items: "),
        ({"model": 3}, 400, "model: "),
        ({"extra": 3}, 400, "extra: "),
        ({"x" * 5000: 3}, 400, "x" * 100 + ": "),
        ({"revision": "r2"}, 409, "has model 'lengths' of revision 'r1', got a request for 'lengths' and 'r2'"),
        ({"model": "other"}, 409, "has model 'lengths' of revision 'r1', got a request for 'other' and 'r1'"),
    ],
)
def test_a_bad_request_is_refused_in_words(change, status, words):
    error = refusal(asked("a") | change)
    assert (error.status, error.item) == (status, None)
    assert words in error.message
    assert len(error.message) < 300


@pytest.mark.parametrize(
    ("item", "words"),
    [({"text": 3, "image": png()}, "items.1.text: "), ({"text": "a"}, "items.1.image: Field required")],
)
def test_an_item_of_another_form_refuses_the_request_with_its_number(item, words):
    body = asked("a", "b")
    body["items"][1] = item
    error = refusal(body)
    assert (error.status, error.item) == (400, 1)
    assert words in error.message


def an_animation():
    file = io.BytesIO()
    pictures = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    pictures[0].save(file, format="PNG", save_all=True, append_images=pictures[1:])
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("no base64", "whole PNG"),
        ("", "whole PNG"),
        ("\u00e9", "whole PNG"),
        (png()[:-40], "whole PNG"),
        (png(form="JPEG"), "whole PNG"),
        (png(form="GIF"), "whole PNG"),
        (png(mode="RGBA"), "got mode RGBA"),
        (png(mode="L"), "got mode L"),
        (an_animation(), "an animation of 2"),
        (png(8, 65), "a ratio of at most 8 are required, got 8x65"),
        (png(100_000, 8), "a ratio of at most 8 are required, got 100000x8"),
        (a_png_that_says_it_is(2**12, 2**12 + 1), "16777216 pixels is required, got 4096x4097"),
        (a_png_that_says_it_is(2**12, 2**12), "whole PNG"),
        (a_png_that_says_it_is(2**16, 2**16), "PNG"),
        (a_png_that_says_it_is(2**31 - 1, 2**31 - 1), "PNG"),
        (a_png_that_says_it_is(0, 4), "PNG"),
    ],
)
def test_a_bad_picture_is_an_error_of_its_item_and_the_others_are_read(image, words):
    body = asked("a", "b", "c")
    body["items"][1]["image"] = image
    request = read(body)
    assert request.errors.keys() == {1}
    assert words in request.errors[1]
    assert request.groups() == [[0, 2]]


def test_a_picture_of_8_to_1_is_read():
    assert read(asked("a", items=[{"text": "a", "image": png(8, 64)}])).pictures[0].shape == (64, 8, 3)


def test_a_picture_beyond_the_bounds_is_not_unpacked(monkeypatch):
    body = asked(
        "a", items=[{"text": "a", "image": image} for image in (png(8, 65), a_png_that_says_it_is(5000, 4000))]
    )
    monkeypatch.setattr(module.np, "array", lambda _: pytest.fail("unpacked"))
    request = read(body)
    assert request.errors.keys() == {0, 1}


def test_a_text_too_long_is_an_error_of_its_item():
    longest = module._MAX_CHARACTERS * "a"
    request = read(asked(longest, longest + "a"))
    assert request.errors == {1: "A text of at most 10000 characters is required, got 10001."}


def test_all_pictures_of_a_request_together_are_bounded(monkeypatch):
    monkeypatch.setattr(module, "_MAX_PIXELS", 35)
    request = read(asked("a", "b", "c"))
    assert request.pictures.keys() == {0, 1}
    assert "At most 35 pixels per request" in request.errors[2]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"items": NaN}', b'{"model": "\\ud800"}']
)
def test_what_is_no_request_is_refused(body):
    error = refusal(body)
    assert error.status == 400
    assert "docs/remote-reward.md has the fields." in error.message


@pytest.mark.parametrize("part", [b"[],", b'{"text":"","image":""},', b"1,", b'"",'])
def test_json_of_many_small_values_is_not_parsed(part):
    """Parsed, it would take 30 times its bytes of memory."""
    error = refusal(b"[" + part * (module._MAX_SYNTAX_BYTES // part.count(b",") + 1))
    assert error.status == 400
    assert "bytes beside letters, digits" in error.message
