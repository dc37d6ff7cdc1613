"""Requests to the reward server, and the replies that one may send."""

import base64
import contextlib
import json
import re
import socket
import struct
import zlib
from types import SimpleNamespace

import httpx
import pytest
import torch
from hostile_inputs import ENCODINGS, NAMES, VALUES, changed, damaged, encoded
from hypothesis import strategies as st
from reward_servers import running
from score_requests import a_png_that_says_it_is, png

from flows.reward_server.app import Served
from flows.reward_server.serve import server_of
from g2rpo.rewards.remote_reply import Question, check_described, read_scores, refused

PIN = {"model": "a-judge", "revision": "r1"}
REQUEST = PIN | {"items": [{"text": "a red circle", "image": png()}, {"text": "a blue square", "image": png(8, 2)}]}
REPLY = PIN | {"scores": [0.5, 1.5], "errors": []}
DESCRIBED = PIN | {"name": "a-judge", "max_batch": 8}
TOKEN = "a-secret"


def chunks(*parts):
    """A PNG of chunks with right checksums."""
    body = b"".join(len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4) for kind, data in parts)
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()


def header(width, height, depth=8, colour=2, interlaced=0):
    return struct.pack(">IIBBBBB", width % 2**32, height % 2**32, depth, colour, 0, 0, interlaced)


PIXELS = zlib.compress(b"\0" * 10_000)
BOMB = zlib.compress(b"\0" * 50_000_000)
SIDES = st.sampled_from([0, 1, 4, 8, 100, 2**13, 2**16, 2**31 - 1, 2**32 - 1])
KINDS = st.sampled_from(
    [b"IDAT", b"PLTE", b"tRNS", b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"acTL", b"fcTL", b"fdAT", b"eXIf", b"IEND"]
)
DATA = st.one_of(st.sampled_from([PIXELS, BOMB, b"", b"a\0\0" + BOMB]), st.binary(max_size=40))
PICTURES = st.one_of(
    st.builds(a_png_that_says_it_is, st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1)),
    st.builds(
        lambda head, more: chunks((b"IHDR", head), *more),
        st.builds(
            header, SIDES, SIDES, st.sampled_from([1, 8, 16, 3]), st.sampled_from([0, 2, 3, 4, 6, 9]), st.integers(0, 2)
        ),
        st.lists(
            st.tuples(
                KINDS,
                st.one_of(
                    st.sampled_from([PIXELS, BOMB[:2_000], b"", b"a\0\0" + BOMB[:2_000]]), st.binary(max_size=40)
                ),
            ),
            max_size=5,
        ),
    ),
    st.builds(lambda raw: base64.b64encode(raw).decode(), damaged(base64.b64decode(png()))),
    st.builds(png, st.integers(1, 3), st.integers(1, 3), st.sampled_from(["L", "RGBA", "P", "1", "I;16"])),
    st.builds(lambda form: png(form=form), st.sampled_from(["GIF", "JPEG", "BMP", "TIFF", "WEBP"])),
    st.text(max_size=20),
    NAMES,
)
BODIES = st.one_of(
    st.builds(lambda tree: json.dumps(tree).encode(), changed(REQUEST)),
    st.builds(
        lambda images: json.dumps(PIN | {"items": [{"text": "a", "image": image} for image in images]}).encode(),
        st.lists(PICTURES, min_size=1, max_size=4),
    ),
    st.builds(
        lambda text: json.dumps(PIN | {"items": [{"text": text, "image": png()}]}).encode(), st.one_of(NAMES, st.text())
    ),
    damaged(json.dumps(REQUEST).encode()),
    st.sampled_from(
        [b"", b"[" * 100_000, b'{"a":' * 10_000, b"null", b"9" * 10_000, b'{"items": [' + b"1," * 100_000 + b"1]}"]
    ),
)
HEADERS = st.dictionaries(
    st.sampled_from(["Authorization", "Content-Type", "Content-Encoding", "X-G2RPO-Client", "Accept"]),
    st.sampled_from(["", "Bearer", f"Bearer {TOKEN}x", "Basic Og==", "gzip", "text/plain", "x" * 5_000, "*/*;q=9e9"]),
    max_size=2,
)
PATHS = st.sampled_from(
    ["/v1/score", "/v1/score", "/v1/score", "/v1/reward", "/", "/v1/score/../../x", "/%00", "/" + "a" * 3_000]
)
REQUESTS = st.tuples(st.sampled_from(["POST", "POST", "POST", "GET", "PUT", "HEAD"]), PATHS, BODIES, HEADERS)

LINES = st.sampled_from(
    [
        b"POST /v1/score HTTP/1.1\r\n",
        b"GET /v1/reward HTTP/1.1\r\n",
        b"GET /v1/reward HTTP/9.9\r\n",
        b"GET http://127.0.0.1:1/ HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"Host: a\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 9999999999999999999999\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        b"Authorization: Bearer " + TOKEN.encode() + b"\r\n",
        b"X: " + b"a" * 70_000 + b"\r\n",
        b" folded\r\n",
        b"\0: \xff\r\n",
        b"Expect: 100-continue\r\n",
        b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
        b"\r\n",
        b"\r\n",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"ffffffffffffffff\r\n",
        b"hello",
    ]
)
RAW = st.one_of(st.lists(LINES, min_size=1, max_size=8).map(b"".join), st.binary(min_size=1, max_size=40))

REPLIES = st.one_of(
    changed(REPLY).map(json.dumps),
    changed(DESCRIBED).map(json.dumps),
    st.builds(lambda scores: json.dumps(REPLY | {"scores": scores}), st.lists(VALUES, max_size=3)),
    st.builds(lambda item, error: json.dumps(REPLY | {"errors": [{"item": item, "error": error}]}), VALUES, VALUES),
    st.sampled_from(
        ["", "[" * 100_000, '{"a":' * 10_000, "null", '{"scores": [NaN, Infinity]}', "<html>\x1b[2J", "1e999"]
    ),
    st.text(max_size=40),
)
ANSWERS = st.one_of(st.builds(encoded, REPLIES, ENCODINGS), damaged(json.dumps(REPLY).encode()), st.binary(max_size=30))


class Judge:
    """A reward as cheap as a mean."""

    name, module = "a-judge", None

    def score(self, images, texts):
        return images.mean(dim=(1, 2, 3))


@pytest.fixture(scope="module")
def server():
    """A real server in this process, and a client that keeps its connection."""
    served = Served(Judge(), **PIN, max_batch=4, device=torch.device("cpu"))
    with running(server_of(served, TOKEN)) as url, httpx.Client(base_url=url, timeout=600, trust_env=False) as client:
        yield SimpleNamespace(url=url, client=client)


def test_requests(campaign, server):
    def a_request(case, _):
        method, path, body, headers = case
        bearer = {"Authorization": f"Bearer {TOKEN}"} | headers

        def ask():
            reply = server.client.request(method, path, content=body, headers=bearer)
            assert reply.status_code == 200 or 400 <= reply.status_code < 500, f"status {reply.status_code}"
            assert len(reply.content) < 100_000
            if reply.status_code != 200:
                raise ValueError(reply.json()["error"] if "error" in reply.text else f"status {reply.status_code}")

        return ask

    campaign(REQUESTS, a_request, quick=200)


def test_bytes_that_are_no_http(campaign, server):
    def some_bytes(case, _):
        host, port = re.fullmatch(r"http://(.*):(\d+)", server.url).groups()

        def send():
            with socket.create_connection((host, int(port))) as connection:
                connection.settimeout(600)
                first = b""
                with contextlib.suppress(OSError):  # the server may hang up at any byte
                    connection.sendall(case)
                    connection.shutdown(socket.SHUT_WR)
                    first = connection.recv(200)
            assert not first.startswith(b"HTTP/1.1 5"), first
            described = server.client.get("/v1/reward", headers={"Authorization": f"Bearer {TOKEN}"})
            assert described.json()["model"] == PIN["model"]
            if not first.startswith(b"HTTP/1.1 200"):
                raise ValueError("refused")

        return send

    campaign(RAW, some_bytes, quick=50)


def test_replies(campaign):
    question = Question("vlm", "https://judge:8443/v1/score", 16, 2, TOKEN)

    def a_reply(case, _):
        status, location, body = case

        def read():
            if status == 200:
                assert len(read_scores(question, body, PIN)) == 2
            elif status == 201:
                check_described(question, body, PIN, 8)
            else:
                raise refused(question, status, location, body)

        return read

    statuses = st.sampled_from([200, 200, 200, 201, 201, 302, 401, 422])
    campaign(st.tuples(statuses, st.one_of(st.none(), NAMES), ANSWERS), a_reply, quick=900)


def test_untouched_requests_and_replies_are_accepted(server):
    question = Question("vlm", "https://judge:8443/v1/score", 16, 2, TOKEN)
    assert read_scores(question, json.dumps(REPLY).encode(), PIN) == [0.5, 1.5]
    check_described(question, json.dumps(DESCRIBED).encode(), PIN, 8)
    reply = server.client.post("/v1/score", json=REQUEST, headers={"Authorization": f"Bearer {TOKEN}"})
    assert reply.json() == PIN | {"scores": [0, 0], "errors": []}
