"""The reference server of docs/remote-reward.md as a FastAPI application: any reward of this project behind HTTP.

It scores one request at a time, in a thread beside the event loop; a few more wait; others must retry later.
"""

import asyncio
import hmac
import math
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass

import torch
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from flows.reward_server.request import MAX_BODY_BYTES, RequestError, ScoreRequest, read_request
from g2rpo.rewards.protocol import Reward

_MAX_REQUESTS = 4  # in all: scored, waiting or being read
_READ_SECONDS = 60.0  # for a whole request to arrive
_RETRY_AFTER_SECONDS = 1


@dataclass(frozen=True)
class Served:
    """The reward of a server. Example: judge_a, its digest as revision, 96 pictures per request."""

    reward: Reward
    model: str
    revision: str
    max_batch: int
    device: torch.device

    @property
    def pin(self) -> dict[str, str]:
        """Model and revision, which every reply contains."""
        return {"model": self.model, "revision": self.revision}


def reward_app(served: Served, token: str | None) -> FastAPI:
    """Return the application; if there is a token, every request must have it."""
    scoring = _Scoring(served)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        yield
        scoring.close()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.exception_handler(RequestError)
    async def refused(_: Request, error: RequestError) -> JSONResponse:
        body = {"error": error.message} | ({} if error.item is None else {"item": error.item})
        headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
        if error.retry_after is not None:
            headers["Retry-After"] = str(error.retry_after)
        return JSONResponse(body, error.status, headers)

    @app.get("/v1/reward")
    async def described(request: Request) -> JSONResponse:
        _check_token(request, token)
        return JSONResponse({"name": served.reward.name, "max_batch": served.max_batch} | served.pin)

    @app.post("/v1/score")
    async def scored(request: Request) -> JSONResponse:
        _check_token(request, token)
        return JSONResponse(await scoring.answer(request))

    return app


class _Scoring:
    """The thread that scores, and the number of its present requests."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reward")
        self._lock = asyncio.Lock()
        self._requests = 0

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def answer(self, request: Request) -> Mapping[str, object]:
        if self._requests >= _MAX_REQUESTS:
            raise RequestError(503, f"{self._requests} requests are being served.", retry_after=_RETRY_AFTER_SECONDS)
        self._requests += 1
        try:
            body = await _body(request)
            async with self._lock:
                if await request.is_disconnected():
                    raise RequestError(400, "The client has disconnected.")
                return await asyncio.get_running_loop().run_in_executor(self._thread, self._score, body)
        finally:
            self._requests -= 1

    def _score(self, body: bytes) -> Mapping[str, object]:
        parsed = read_request(body, self._served.max_batch)
        if {"model": parsed.model, "revision": parsed.revision} != self._served.pin:
            raise RequestError(
                409,
                f"This server has model {self._served.model!r} of revision {self._served.revision!r}, got a request "
                f"for {parsed.model!r} and {parsed.revision!r}.",
            )
        scores: list[float | None] = [None] * len(parsed.texts)
        failed: dict[int, str] = {}
        for items in parsed.groups():
            for item, score in zip(items, self._scores(parsed, items), strict=True):
                if isinstance(score, str):
                    failed[item] = score
                else:
                    scores[item] = score
        errors = [{"item": item, "error": failed[item]} for item in sorted(failed)]
        return self._served.pin | {"scores": scores, "errors": errors}

    def _scores(self, parsed: ScoreRequest, items: list[int]) -> list[float | str]:
        """Return for each item its score, or the reason why it has none.

        If scoring the batch fails, score picture by picture, so that only the faulty ones get the error.
        """
        images = parsed.images(items, self._served.device)
        try:
            scores = self._served.reward.score(images, [parsed.texts[item] for item in items]).tolist()
        except ValueError as error:
            if len(items) == 1:
                return [str(error)]
            return [self._scores(parsed, [item])[0] for item in items]
        return [score if math.isfinite(score) else f"The reward gave {score}." for score in scores]


def _check_token(request: Request, token: str | None) -> None:
    given = request.headers.get("Authorization", "")
    if token is not None and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        raise RequestError(401, "The token of this server is required in the header Authorization: Bearer TOKEN.")


async def _body(request: Request) -> bytes:
    """Return the body; read too large a body to its end without storing it, so that the client gets the reply."""
    body, size = bytearray(), 0
    try:
        async with asyncio.timeout(_READ_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= MAX_BODY_BYTES:
                    body += chunk
    except TimeoutError:
        raise RequestError(408, f"A request must come in within {_READ_SECONDS:g} s.") from None
    except ClientDisconnect:
        raise RequestError(400, "The request was interrupted.") from None
    if size > MAX_BODY_BYTES:
        raise RequestError(
            413, f"At most {MAX_BODY_BYTES} bytes per request are accepted, got {size}. Send fewer pictures."
        )
    return bytes(body)
