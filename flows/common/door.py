"""A door before a server of the loopback: a login, own addresses, own pages. Everybody else is turned away."""

import hmac
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from flows.common.environment import LOOPBACK
from flows.common.login import authorization


class Door:
    """An ASGI application that passes on the requests that may enter.

    Host must name the loopback, so that no name that leads here (DNS rebinding) makes a page the server's own. Origin,
    which browsers add to what a page does elsewhere, must be the address under which the server is called: a page of
    another port is another page. The port itself may differ, as behind `ssh -L`. The login is that of HTTP's scheme
    Basic, for which browsers ask once.
    """

    def __init__(self, app: ASGIApp, login: str, open_paths: Collection[str]) -> None:
        """Guard an application.

        Args:
            app: The application.
            login: name:password.
            open_paths: Paths that answer everybody, such as "/health".
        """
        self._app, self._expected, self._open = app, authorization(login).encode(), frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it: 403 for a foreign Host or Origin, 401 without the login."""
        if scope["type"] == "lifespan" or (scope["type"] == "http" and self._is_open(scope)):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(Headers(scope=scope))
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await refusal(scope, receive, send)
        else:  # a WebSocket that is closed before it is accepted is answered with 403
            await send({"type": "websocket.close"})

    def _is_open(self, scope: Scope) -> bool:
        return scope["method"] in ("GET", "HEAD") and scope["path"] in self._open

    def _refusal(self, headers: Headers) -> PlainTextResponse | None:
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or not _is_loopback(hosts[0]):
            return PlainTextResponse("Host must be 127.0.0.1 or localhost.\n", 403)
        if any(origin != f"http://{hosts[0]}" for origin in origins):
            return PlainTextResponse("Only this server's own pages may send this request.\n", 403)
        given = headers.getlist("authorization")
        if len(given) != 1 or not hmac.compare_digest(given[0].encode(), self._expected):
            challenge = {"WWW-Authenticate": 'Basic realm="g2rpo", charset="UTF-8"'}
            return PlainTextResponse("Log in with the name and password of `g2rpo up`.\n", 401, challenge)
        return None


def _is_loopback(host: str) -> bool:
    try:
        return urlsplit(f"//{host}").hostname in LOOPBACK
    except ValueError:  # no address, such as [::1
        return False
