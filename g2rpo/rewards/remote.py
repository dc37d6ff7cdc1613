"""A reward that another process computes, over HTTP as docs/remote-reward.md describes.

A picture goes out as a PNG, so it is rounded to 8 bits; its score comes back as a JSON number. Failures that may pass
are retried: no connection, a reply that is late or breaks off, the statuses 429, 500, 502, 503 and 504. Anything else
is a `RewardError` at once: a server that cannot be trusted stops the run, and never yields a number.
"""

import asyncio
import base64
import io
import ipaddress
import json
import random
import re
import secrets
import ssl
from asyncio import sleep
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, TypeVar

import httpx
import torch
from PIL import Image

from g2rpo.rewards.pictures import check_counts, to_pil
from g2rpo.rewards.protocol import RewardError
from g2rpo.rewards.remote_reply import Question, check_described, read_scores, refused
from g2rpo.types import Images, Rewards

CLIENT_HEADER = "G2RPO-Client"
"""Names a client, so that a server can be fair to clients that share an address."""

_BUSY = (429, 503)
_RETRIED = (*_BUSY, 500, 502, 504)
_BACKOFF_SECONDS = 0.5  # before the second attempt; doubled before each further one
_LONGEST_WAIT_SECONDS = 60.0  # between two attempts, whatever the server asks for
_LATER_FRAC = 0.25  # clients that are told one time to come back come back at different ones
_MAX_REPLY_BYTES = 2**20  # about 40,000 scores
_JITTER = random.Random()  # its own, so that no draw of a run depends on the network

_Result = TypeVar("_Result")


class RemoteReward:
    """A reward behind a URL, in the server's own units. Made by `load_remote`."""

    module = None

    def __init__(
        self,
        name: str,
        *,
        url: str,
        model: str,
        revision: str,
        batch: int,
        retries: int,
        timeout: float,
        token: str | None,
    ) -> None:
        self.name = name
        self._url, self._pin = url.rstrip("/"), {"model": model, "revision": revision}
        self._batch, self._retries, self._timeout, self._token = batch, retries, timeout, token
        self._client_name = secrets.token_hex(8)

    def check(self) -> None:
        """Check the server's model, its revision and the size of its requests.

        Raises:
            RewardError: If it does not answer, has another model or revision than the pinned one, or takes fewer
                pictures per request than `batch`.
        """
        question = Question(self.name, f"{self._url}/v1/reward", 0, 0, self._token)
        check_described(question, _finished(self._ask_once(question)), self._pin, self._batch)

    def score(self, images: Images, texts: Sequence[str]) -> Rewards:
        """Return the server's number for each picture, in requests of at most `batch` pictures.

        Raises:
            ValueError: If there are not as many texts as pictures.
            RewardError: If the server fails, or its reply is anything but one finite number per picture by the pinned
                model and revision; `row` is the picture, if it is known.
        """
        check_counts(self.name, images, texts)
        return torch.tensor(_finished(self._score(images, texts)), dtype=torch.float32, device=images.device)

    async def _ask_once(self, question: Question) -> bytes:
        async with self._client() as client:
            return await self._ask(client, question, None)

    async def _score(self, images: Images, texts: Sequence[str]) -> list[float]:
        values: list[float] = []
        async with self._client() as client:
            for start in range(0, len(texts), self._batch):
                part = slice(start, start + self._batch)
                pairs = zip(texts[part], to_pil(images[part]), strict=True)
                items = [{"text": text, "image": _png(picture)} for text, picture in pairs]
                question = Question(self.name, f"{self._url}/v1/score", start, len(items), self._token)
                content = json.dumps(self._pin | {"items": items}).encode()
                values += read_scores(question, await self._ask(client, question, content), self._pin)
        return values

    def _client(self) -> httpx.AsyncClient:
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json", CLIENT_HEADER: self._client_name}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            return httpx.AsyncClient(
                headers=headers,
                follow_redirects=False,
                verify=_trusted(),
                timeout=None,  # the deadline of `_ask` bounds all; httpx's own restart at every byte
                trust_env=not is_loopback(httpx.URL(self._url).host),  # no proxy for the loopback
            )
        except (ValueError, httpx.InvalidURL) as error:  # of a proxy that the environment names
            raise RewardError(
                f"Reward {self.name} at {self._url}: a proxy of http, https, socks5 or socks5h is required, got "
                f"{type(error).__name__}: {error} Correct http_proxy, https_proxy and all_proxy, or name the server's "
                "host in no_proxy."
            ) from None

    async def _ask(self, client: httpx.AsyncClient, question: Question, content: bytes | None) -> bytes:
        """Return the body of the first reply that has status 200.

        A server that is busy and says when to come back is asked again until the total deadline.

        Raises:
            RewardError: If the server refuses, or still fails after the last attempt or at the deadline.
        """
        asked, failed = 0, 0
        time = asyncio.get_running_loop().time
        longest = _LONGEST_WAIT_SECONDS * (1 + _LATER_FRAC)
        deadline = time() + (self._retries + 1) * (self._timeout + longest)
        while True:
            wait = min(_BACKOFF_SECONDS * 2 ** min(asked, 10), _LONGEST_WAIT_SECONDS) * _JITTER.uniform(0.5, 1)
            asked, failed = asked + 1, failed + 1
            try:
                async with asyncio.timeout(self._timeout):
                    reply, body = await _exchange(client, question, content)
            except TimeoutError:
                failure = f"no whole reply within {self._timeout:g} s"
            except httpx.TransportError as error:
                failure = question.quoted(f"{type(error).__name__}: {error}")
            else:
                if reply.status_code == 200:
                    return body
                if reply.status_code not in _RETRIED:
                    raise refused(question, reply.status_code, reply.headers.get("Location"), body)
                failure = question.quoted(f"status {reply.status_code}: {body.decode(errors='replace')}")
                later = _retry_after(reply.headers.get("Retry-After", ""))
                if later is not None:
                    wait = max(wait, min(later, _LONGEST_WAIT_SECONDS) * _JITTER.uniform(1, 1 + _LATER_FRAC))
                    failed -= reply.status_code in _BUSY
            if failed > self._retries or time() + wait > deadline:
                break
            await sleep(wait)
        raise question.error(
            "a reply is required",
            f"none in {asked} attempts, at last {failure}",
            f"Start the server, or raise rewards.{self.name}.timeout or retries.",
        )


def load_remote(
    name: str,
    *,
    url: str,
    model: str,
    revision: str,
    batch: int,
    retries: int,
    timeout: float,
    token: str | None,
    device: str | torch.device = "cpu",
) -> RemoteReward:
    """Return a reward that a server computes; `check` and `score` send the first requests.

    Args:
        url: Of the server, to which /v1/reward and /v1/score are appended.
        model: The model that the server must report.
        revision: Of the model; a reply by another one is refused.
        batch: Largest number of pictures per request.
        retries: Further attempts after a failure that may pass.
        timeout: Seconds of one attempt in all, from the connection to the last byte of the reply.
        token: Sent as a bearer token; only over https, or to the loopback.
        device: Not used: the server has its own.

    Raises:
        ValueError: If the URL is invalid, holds secrets, or would send the token in clear; or the token cannot be sent.
    """
    address = _address(name, url)
    if token is not None:
        check_token(token, f"rewards.{name}.token_env")
    if token is not None and address.scheme == "http" and not is_loopback(address.host):
        raise ValueError(
            f"rewards.{name}.url: https is required to send a token to {address.host}, got {url}. Use https, or a "
            "tunnel that ends on 127.0.0.1."
        )
    return RemoteReward(
        name, url=url, model=model, revision=revision, batch=batch, retries=retries, timeout=timeout, token=token
    )


def check_token(token: str, key: str) -> None:
    """Refuse a token that no header can carry.

    Raises:
        ValueError: Without the token.
    """
    if not re.fullmatch(r"[A-Za-z0-9._~+/-]+=*", token):
        raise ValueError(
            f"{key}: a bearer token of letters, digits and ._~+/- is required, got {len(token)} characters that "
            "are not one. Correct the environment variable; look for spaces and line ends."
        )


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, by its name or address alone, without a look-up."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _address(name: str, url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL:
        address = httpx.URL()
    if address.scheme not in ("http", "https") or not address.host:
        raise ValueError(f"rewards.{name}.url: an address as https://host:port is required, got {url!r}. Correct it.")
    if address.userinfo or address.query or address.fragment:
        raise ValueError(
            f"rewards.{name}.url: an address without user, password, query and fragment is required, got one with "
            f"them on {address.host}. Put a secret into the environment variable of rewards.{name}.token_env."
        )
    return address


@cache
def _trusted() -> ssl.SSLContext:
    """Return the trusted certificates, read once: this takes longer than a small request."""
    return httpx.create_ssl_context()


async def _exchange(client: httpx.AsyncClient, question: Question, data: bytes | None) -> tuple[httpx.Response, bytes]:
    """Send a request, and return the reply and its body."""
    body = bytearray()
    method = "GET" if data is None else "POST"
    async with client.stream(method, question.url, content=data) as reply:
        async for chunk in reply.aiter_raw():
            body += chunk
            if len(body) > _MAX_REPLY_BYTES:
                raise question.error(
                    f"a reply of at most {_MAX_REPLY_BYTES} bytes is required", "more", "Is this a reward server?"
                )
    return reply, bytes(body)


def _retry_after(value: str) -> float | None:
    """Return the seconds that a server asks to wait, given as a number or as a date; None if it does not say."""
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        then = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return (then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds()


def _png(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, format="PNG", compress_level=1)
    return base64.b64encode(file.getvalue()).decode()


def _finished(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Return the result of a coroutine; if a loop already runs, as in a notebook, from a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
