"""The reference server of docs/remote-reward.md as a FastAPI application: any reward of this project behind HTTP."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from flows.reward_server.door import OPEN_PATH, Door, body_size, refusal
from flows.reward_server.request import RequestError
from flows.reward_server.scoring import Job, Scoring, Served
from g2rpo.rewards.remote import CLIENT_HEADER

_MAX_HELD_BYTES = 2**29  # of all requests that are read or wait
_READ_SECONDS = 10.0  # for a whole request to arrive, and more by its size
_READ_BYTES_PER_SECOND = 2**18
_CLIENT_CHARACTERS = 64


def reward_app(served: Served, token: str | None) -> FastAPI:
    """Return the application; if there is a token, every request but that for its health must have it."""
    scoring, room = Scoring(served), _Room()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        scoring.start()
        yield
        scoring.close()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Door, token=token)
    app.state.scoring = scoring

    @app.exception_handler(RequestError)
    async def refused(_: Request, error: RequestError) -> JSONResponse:
        return refusal(error, scoring.retry_after())

    @app.exception_handler(HTTPException)
    async def unknown(_: Request, error: HTTPException) -> JSONResponse:
        return refusal(RequestError(error.status_code, f"{error.detail}. docs/remote-reward.md has the addresses."))

    @app.get(OPEN_PATH)
    async def health() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @app.get("/v1/reward")
    async def described() -> JSONResponse:
        return JSONResponse({"name": served.reward.name, "max_batch": served.max_batch} | served.pin)

    @app.post("/v1/score")
    async def scored(request: Request) -> JSONResponse:
        with room.of(body_size(request.headers)):
            body = await _body(request)
            job = scoring.add(_client(request), body, getattr(request.state, "gone", bool))
            try:
                return JSONResponse(await _reply(request, job))
            finally:
                scoring.give_up(job)

    return app


class _Room:
    """The bytes of all requests that the server holds."""

    def __init__(self) -> None:
        self._held = 0

    @contextmanager
    def of(self, size: int) -> Generator[None]:
        if self._held + size > _MAX_HELD_BYTES:
            raise RequestError(503, f"Requests of {self._held} bytes are being served.")
        self._held += size
        try:
            yield
        finally:
            self._held -= size


def _client(request: Request) -> str:
    """Return who asks: the address, and the name that the client gives itself, since a proxy has one address."""
    host = request.client.host if request.client else ""
    return f"{host} {request.headers.get(CLIENT_HEADER, '')[:_CLIENT_CHARACTERS]}"


async def _body(request: Request) -> bytes:
    seconds = _READ_SECONDS + body_size(request.headers) / _READ_BYTES_PER_SECOND
    try:
        async with asyncio.timeout(seconds):
            return await request.body()
    except TimeoutError:
        raise RequestError(408, f"A request of this size must come in within {seconds:.3g} s.") from None
    except ClientDisconnect:
        raise RequestError(400, "The request was interrupted.") from None


async def _reply(request: Request, job: Job) -> object:
    """Return the reply to a request, as soon as it is scored.

    Raises:
        RequestError: If the request is refused, or its client has gone.
    """
    reply, gone = asyncio.wrap_future(job.reply), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({reply, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not reply.done():
            raise RequestError(400, "The client has disconnected.")
        return reply.result()
    finally:
        gone.cancel()
        reply.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
