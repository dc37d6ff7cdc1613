"""What every request must satisfy before anything of its body is read: one length, and the token."""

import hmac
import re

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from flows.reward_server.request import MAX_BODY_BYTES, RequestError

OPEN_PATH = "/health"


class Door:
    """Refuses a request by its headers alone; `OPEN_PATH` needs no token."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on."""
        answer = self._app
        if scope["type"] == "http":
            try:
                self._check(Headers(scope=scope), scope["path"])
            except RequestError as error:
                answer = refusal(error)
        await answer(scope, receive, send)

    def _check(self, headers: Headers, path: str) -> None:
        if "Transfer-Encoding" in headers:
            if "Content-Length" in headers:
                raise RequestError(400, "Either Content-Length or Transfer-Encoding is required, got both.")
            raise RequestError(411, "Content-Length is required, got Transfer-Encoding.")
        if path != OPEN_PATH and self._token is not None:
            given = headers.get("Authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
                raise RequestError(
                    401, "The token of this server is required in the header Authorization: Bearer TOKEN."
                )
        if "Origin" in headers and self._token is None:
            raise RequestError(403, "No page of a browser is served without a token, got a request with an Origin.")
        if body_size(headers) > MAX_BODY_BYTES:
            raise RequestError(
                413,
                f"At most {MAX_BODY_BYTES} bytes per request are accepted, got {body_size(headers)}. "
                "Send fewer pictures.",
            )


def body_size(headers: Headers) -> int:
    """Return the size that a request states; the HTTP parser has checked that its body is of that size."""
    stated = headers.get("Content-Length", "0")
    return int(stated) if re.fullmatch("[0-9]{1,20}", stated) else MAX_BODY_BYTES + 1


def refusal(error: RequestError, retry_after: int = 1) -> JSONResponse:
    """Return the reply to a refused request; after one of unknown length the connection is closed."""
    body = {"error": error.message} | ({} if error.item is None else {"item": error.item})
    headers = {
        400: {"Connection": "close"},
        401: {"WWW-Authenticate": "Bearer"},
        408: {"Connection": "close"},
        411: {"Connection": "close"},
        429: {"Retry-After": str(retry_after)},
        503: {"Retry-After": str(retry_after)},
    }
    return JSONResponse(body, error.status, headers.get(error.status))
