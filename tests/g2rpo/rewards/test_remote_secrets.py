"""The token of a reward server goes to that server alone."""

import logging
import traceback

import pytest
from reward_client import SCORES, TEXTS, judge, pictures
from reward_servers import PIN, reply, scored, scripted

from g2rpo.rewards import remote
from g2rpo.rewards.protocol import RewardError

TOKEN = "a-s3cret.token~"


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch):
    monkeypatch.setattr(remote, "_BACKOFF_SECONDS", 0.01)


def test_the_token_goes_out_as_a_bearer_and_only_where_there_is_one():
    with scripted(scored()) as server:
        judge(server.url, token=TOKEN).score(pictures(), TEXTS)
        judge(server.url).score(pictures(), TEXTS)
    assert [request.headers.get("Authorization") for request in server.asked] == [*2 * [f"Bearer {TOKEN}"], None, None]


def test_the_token_is_in_no_log_of_a_request_that_succeeds(caplog):
    caplog.set_level(logging.DEBUG)
    with scripted(scored()) as server:
        judge(server.url, token=TOKEN).score(pictures(), TEXTS)
    assert "send_request_headers" in caplog.text
    assert TOKEN not in caplog.text


def an_echo(status):
    def answer(handler, request):
        reply(request.headers, status, Location=request.headers["Authorization"].replace(" ", "/"))(handler, request)

    return answer


def echoed(**changes):
    return reply(PIN | {"scores": SCORES[:4]} | changes)


def an_echo_that_is_no_http(handler, request):
    handler.wfile.write(f"{request.headers['Authorization']}\r\n\r\n".encode())
    handler.close_connection = True


@pytest.mark.parametrize(
    "answer",
    [
        *(an_echo(status) for status in (200, 307, 401, 422, 503)),
        *(echoed(**{key: TOKEN}) for key in ("model", "revision", "scores", "errors")),
        echoed(scores=[TOKEN, 1, 2, 3]),
        echoed(errors=[{"item": 0, "error": 290 * " x" + TOKEN}]),
        echoed(errors=[{"item": 0, "error": 295 * "x" + TOKEN}]),
        an_echo_that_is_no_http,
    ],
)
def test_the_token_is_in_no_error_and_no_log_though_the_server_repeats_it(answer, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    with scripted(answer) as server:
        reward = judge(server.url, token=TOKEN)
        with pytest.raises(RewardError) as caught:
            reward.score(pictures(), TEXTS)
    error = caught.value
    outputs = [str(error), repr(error), *traceback.format_exception(error), repr(reward), *capfd.readouterr()]
    logged = [record.getMessage() for record in caplog.records]
    outputs += [words for words in logged if "response_headers" not in words]  # httpcore's own, of what the server sent
    assert TOKEN in server.asked[0].headers["Authorization"]
    assert not [words for words in outputs if TOKEN[:6] in words]


@pytest.mark.parametrize("url", ["http://judge.example:8000", "http://10.0.0.1", "http://127.0.0.1.example"])
def test_a_token_does_not_go_in_clear_to_another_machine(url):
    with pytest.raises(ValueError, match="https is required to send a token") as caught:
        judge(url, token=TOKEN)
    assert TOKEN not in str(caught.value)
    judge(url)
    judge(url.replace("http:", "https:"), token=TOKEN)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8:80", "localhost:80", "[::1]:80"])
def test_a_token_may_go_in_clear_to_this_machine(host):
    judge(f"http://{host}", token=TOKEN)


@pytest.mark.parametrize("url", ["", "judge:8000", "ftp://judge", "http://", "/v1", "http://a:b:c", "http://a\n"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ValueError, match=r"rewards\.vlm\.url: an address as https://host:port is required"):
        judge(url)


@pytest.mark.parametrize("url", ["https://me:hush@judge", "https://hush@judge", "https://judge/?key=hush"])
def test_an_address_that_holds_a_secret_is_refused_without_showing_it(url):
    with pytest.raises(ValueError, match=r"without user, password, query") as caught:
        judge(url)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("token", ["", "two words", "end\n", "sm\u00f8rrebr\u00f8d", "a\r\nX: b"])
def test_a_token_that_no_header_can_carry_is_refused_without_showing_it(token):
    with pytest.raises(ValueError, match=r"rewards\.vlm\.token_env") as caught:
        judge("http://127.0.0.1", token=token)
    assert not token or token not in str(caught.value)


def test_no_proxy_stands_before_the_loopback(monkeypatch):
    with scripted(scored()) as proxy, scripted(scored()) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        judge(server.url, token=TOKEN).score(pictures(), TEXTS)
    assert (len(proxy.asked), len(server.asked)) == (0, 2)


@pytest.mark.parametrize("proxy", ["socks4://me:hush@proxy:1080", "ftp://me:hush@proxy", "http://me:hush@proxy:port"])
def test_a_proxy_that_cannot_be_used_is_told_without_its_password(monkeypatch, proxy):
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(RewardError, match=r"Reward vlm at http://judge\.example: a proxy of http") as caught:
        judge("http://judge.example").score(pictures(), TEXTS)
    assert "hush" not in "".join(traceback.format_exception(caught.value))
