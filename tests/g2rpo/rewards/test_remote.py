"""A reward behind HTTP: the requests that the server gets, and how its failures end. The servers are real ones."""

import asyncio
import base64
import io
import json
import threading

import pytest
import torch
from PIL import Image
from reward_client import SCORES, TEXTS, judge, pictures, refusal
from reward_servers import PIN, ScriptedServer, broken, dripping, reply, scored, scripted

from g2rpo.rewards import remote
from g2rpo.rewards.pictures import to_uint8
from g2rpo.rewards.protocol import Reward, RewardError


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch):
    monkeypatch.setattr(remote, "_BACKOFF_SECONDS", 0.01)


@pytest.fixture
def waits(monkeypatch):
    """What the client would have waited between attempts, without the waiting."""
    kept = []

    async def no_sleep(seconds):
        kept.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(remote, "sleep", no_sleep)
    return kept


def test_a_remote_judge_is_a_reward_without_a_network_of_its_own():
    reward = judge("http://127.0.0.1:1")
    assert isinstance(reward, Reward)
    assert (reward.name, reward.module) == ("vlm", None)


def test_pictures_go_out_in_batches_and_their_scores_come_back_in_order():
    with scripted(scored()) as server:
        values = judge(server.url, batch=2).score(pictures(), TEXTS)
    assert values.tolist() == SCORES
    assert values.dtype == torch.float32
    assert [len(request.json["items"]) for request in server.asked] == [2, 2, 1]
    assert {(request.method, request.path) for request in server.asked} == {("POST", "/v1/score")}
    assert all({key: request.json[key] for key in PIN} == PIN for request in server.asked)


def test_the_judge_sees_each_text_with_its_picture_rounded_to_8_bits():
    with scripted(scored()) as server:
        judge(server.url).score(pictures(), TEXTS)
    items = [item for request in server.asked for item in request.json["items"]]
    seen = [Image.open(io.BytesIO(base64.b64decode(item["image"]))) for item in items]
    assert [item["text"] for item in items] == TEXTS
    assert {(picture.format, picture.mode, picture.size) for picture in seen} == {("PNG", "RGB", (5, 6))}
    assert [picture.tobytes() for picture in seen] == [bytes(row.flatten().tolist()) for row in to_uint8(pictures())]


def test_no_pictures_ask_for_nothing():
    assert judge("http://127.0.0.1:1").score(pictures(0), []).shape == (0,)


def test_too_few_texts_are_refused():
    with pytest.raises(ValueError, match="got 5 pictures and 4 texts"):
        judge("http://127.0.0.1:1").score(pictures(), TEXTS[:-1])


def test_a_whole_number_is_a_score():
    with scripted(scored(7, -1.5)) as server:
        assert judge(server.url).score(pictures(2), TEXTS[:2]).tolist() == [7.0, -1.5]


def test_a_score_is_asked_for_from_within_a_running_loop_too():
    async def as_in_a_notebook():
        return judge(server.url).score(pictures(), TEXTS)

    with scripted(scored()) as server:
        assert asyncio.run(as_in_a_notebook()).tolist() == SCORES


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_server_that_fails_and_then_is_well_gives_its_scores(status):
    with scripted(reply(b"oops", status), broken, scored()) as server:
        assert judge(server.url).score(pictures(4), TEXTS[:4]).tolist() == SCORES[:4]
    assert len(server.asked) == 3


def test_a_server_that_comes_up_late_gives_its_scores():
    server = ScriptedServer((reply(b"loading", 503, Retry_After="0"), scored()))
    late = threading.Timer(0.2, server.listen)
    late.start()
    try:
        assert judge(server.url, retries=12).score(pictures(4), TEXTS[:4]).tolist() == SCORES[:4]
    finally:
        late.join()
        server.close()


def test_a_server_that_never_gets_well_is_an_error_after_all_attempts():
    with scripted(reply({"error": "still loading"}, 503)) as server:
        error = refusal(server)
    assert len(server.asked) == 3
    assert f"Reward vlm at {server.url}/v1/score: a reply is required, got none in 3 attempts" in str(error)
    assert "status 503" in str(error)
    assert "still loading" in str(error)


def test_a_server_that_always_breaks_off_is_an_error():
    with scripted(broken) as server:
        assert "got none in 3 attempts, at last RemoteProtocolError" in str(refusal(server))


def test_a_server_that_is_not_there_is_an_error_with_its_address():
    server = ScriptedServer(())
    try:
        error = refusal(server)
    finally:
        server.close()
    assert f"{server.url}/v1/score: a reply is required, got none in 3 attempts, at last ConnectError" in str(error)


def test_a_server_that_does_not_answer_is_given_up_at_its_deadline():
    def late(handler, request):
        server.over.wait(3)
        scored()(handler, request)

    with scripted(late) as server:
        error = refusal(server, timeout=0.2, retries=1)
    assert len(server.asked) == 2
    assert "no whole reply within 0.2 s" in str(error)


@pytest.mark.parametrize("where", ["head", "body"])
def test_a_server_that_drips_is_given_up_at_its_deadline(where):
    body = json.dumps(PIN | {"scores": SCORES[:4]}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    server = ScriptedServer(())
    drip = dripping(head + body if where == "head" else body, server.over)

    def answer(handler, request):
        if where == "body":
            handler.wfile.write(head)
        drip(handler, request)

    server.answers = (answer,)
    server.listen()
    try:
        with pytest.raises(RewardError, match=r"no whole reply within 0\.3 s"):
            judge(server.url, timeout=0.3, retries=0).score(pictures(4), TEXTS[:4])
    finally:
        server.close()


def test_waits_double_from_attempt_to_attempt_up_to_a_minute(waits, monkeypatch):
    monkeypatch.setattr(remote, "_BACKOFF_SECONDS", 20)
    with scripted(reply(b"", 502)) as server:
        refusal(server, retries=3)
    assert all(least <= wait <= 2 * least for least, wait in zip((10, 20, 30), waits, strict=True))


def test_waits_double_from_attempt_to_attempt_and_are_never_the_same(waits):
    with scripted(reply(b"", 502)) as server:
        refusal(server, retries=8)
    assert len(waits) == 8
    assert all(0.005 * 2**n <= wait <= 0.01 * 2**n for n, wait in enumerate(waits))
    assert len({wait / 2**n for n, wait in enumerate(waits)}) == 8


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("0", 0.005, 0.01),
        ("7", 7, 8.75),
        ("86400", 60, 75),
        ("Sat, 01 Jan 2000 00:00:00 GMT", 0.005, 0.01),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 60, 75),
        ("Fri, 01 Jan 2100 00:00:00 -0000", 60, 75),
    ],
)
def test_a_busy_server_is_obeyed_up_to_a_minute_and_costs_no_attempt(waits, status, header, least, most):
    with scripted(reply(b"", status, Retry_After=header), scored()) as server:
        assert judge(server.url, retries=0).score(pictures(4), TEXTS[:4]).tolist() == SCORES[:4]
    assert len(waits) == 1
    assert least <= waits[0] <= most


@pytest.mark.parametrize("header", ["9" * 400, "-5", "soon", "1.5", "Fri, 99 Jan 2100 00:00:00 GMT"])
def test_a_server_that_says_nothing_clear_is_asked_again_as_any_that_fails(waits, header):
    with scripted(reply(b"", 503, Retry_After=header)) as server:
        refusal(server, retries=1)
    assert len(waits) == 1
    assert 0.005 <= waits[0] <= 0.01


def test_clients_that_are_told_one_time_come_back_at_different_ones(waits):
    with scripted(*5 * [reply(b"", 503, Retry_After="7")], scored()) as server:
        judge(server.url).score(pictures(4), TEXTS[:4])
    assert len(set(waits)) == 5


def test_a_server_that_stays_busy_is_given_up_at_the_total_deadline(monkeypatch):
    """An attempt of 1 s and a longest wait of 0.1 s make 1.1 s, in which there are at most ten waits."""
    monkeypatch.setattr(remote, "_LONGEST_WAIT_SECONDS", 0.1)
    with scripted(reply(b"", 503, Retry_After="9")) as server:
        error = refusal(server, retries=0, timeout=1.0)
    assert len(server.asked) <= 11
    assert "a reply is required, got none in " in str(error)


def test_a_client_names_itself_so_that_servers_can_be_fair():
    with scripted(scored()) as server:
        for one in (judge(server.url), judge(server.url)):
            one.score(pictures(), TEXTS)
    names = [asked.headers[remote.CLIENT_HEADER] for asked in server.asked]
    assert len(names) == 4
    assert len(set(names)) == 2
    assert names[0] == names[1]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 408, 409, 413, 422, 501])
def test_a_refusal_is_final_and_told_in_the_words_of_the_server(status):
    with scripted(scored(), reply({"error": "no cats here", "item": 0}, status)) as server:
        error = refusal(server)
    assert len(server.asked) == 2
    assert f"status 200 is required, got {status}: " in str(error)
    assert "no cats here" in str(error)
    assert error.row == 4
    assert "picture 4 of the batch" in str(error)


@pytest.mark.parametrize("item", [1, -1, "0", True, 0.0, None])
def test_a_refusal_that_names_no_item_of_the_request_names_no_row(item):
    with scripted(scored(), reply({"error": "no", "item": item}, 422)) as server:
        assert refusal(server).row is None


def test_a_redirect_is_not_followed():
    with scripted(scored()) as other, scripted(reply(b"", 307, Location=f"{other.url}/v1/score")) as server:
        error = refusal(server, token="a-token")
    assert other.asked == []
    assert f"got status 307, a redirect to {other.url}/v1/score" in str(error)
