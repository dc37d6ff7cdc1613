"""Questions to servers: one function asks them all; what a server must answer; the configured Prefect API."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse, IncompleteRead
from queue import Empty, SimpleQueue
from threading import Thread
from typing import cast
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
    getproxies,
)

from flows.common.environment import LOOPBACK, require_usable_proxies
from flows.common.login import authorization
from stages.params.addresses import without_login

REFUSED = (401, 403)
"""Statuses with which a server refuses a login, or a request without one."""
_LOGIN = (
    "Set PREFECT_API_AUTH_STRING to name:password of this server; for the one of `g2rpo up`, run: "
    'eval "$(g2rpo status --env)"'
)

_SECONDS = 10
_BYTES = 1 << 16
_CHARACTERS = 200  # of a server's own words in a message


@dataclass(frozen=True)
class Answer:
    """A server's answer. Example: status 200, text '"3.8.8"'; status None and error "Connection refused" if none came.

    The text of a redirect is the address that it names: no redirect is followed, since a login may travel with it.
    """

    status: int | None
    text: str = ""
    error: str = ""


@dataclass(frozen=True)
class Server:
    """A server to check. Example: name "mlflow", title "the MLflow server", url "http://127.0.0.1:5000"."""

    name: str
    title: str
    url: str
    version_path: str
    """Path at which it tells its version."""
    remedy: str
    """What to do if another server or none answers."""
    login: str
    """What to set if it refuses the login."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Headers of a request, with the login."""


class ServerError(ValueError):
    """A server or database does not do as it must; the parts of the error, for a check."""

    def __init__(self, message: str, remedy: str) -> None:
        self.message, self.remedy = message, remedy
        super().__init__(f"{message}. {remedy}")


def ask(url: str, *, headers: Mapping[str, str] | None = None, seconds: float = _SECONDS) -> Answer:
    """Return a server's answer to GET, or the error in words.

    The answer is read up to 64 kB. A proxy of the environment is used, except on the loopback. A login in the URL is
    sent as a header, unless the headers have one.

    Args:
        url: A URL of http or https.
        headers: Headers of the request.
        seconds: Time for the whole answer, from the look-up of the name on.
    """
    answers = SimpleQueue[Answer]()
    thread = Thread(target=lambda: answers.put(_answer(url, headers or {}, seconds)), daemon=True)
    thread.start()
    try:
        return answers.get(timeout=seconds)
    except Empty:
        return Answer(None, error="timed out")


def require_version(server: Server) -> str:
    """Return the version that a server tells.

    Raises:
        ServerError: If it does not answer, refuses the login, redirects, or is another kind of server.
    """
    path = server.version_path
    answer = ask(f"{server.url}{path}", headers=server.headers)
    version, remedy = answer.text.strip().strip('"'), server.remedy
    if answer.status is None:
        got = f"no answer: {answer.error}"
    elif answer.status in REFUSED:
        got, remedy = f"{answer.status} at {path}: it refuses the login, or requires one", server.login
    elif 300 <= answer.status < 400:
        got = f"a redirect at {path} to {answer.text or 'nowhere'}"
    elif answer.status != 200 or not re.fullmatch(r"\d+\.\d[\w.+-]{0,40}", version):
        got = f"{answer.status} and no version of {server.name} at {path}"
    else:
        return version
    raise ServerError(f"{server.title} must answer at {without_login(server.url)}, got {got}", remedy)


def basic(login: str) -> dict[str, str]:
    """Return the header for name:password; none for an empty login."""
    return {"Authorization": authorization(login)} if login.strip(":") else {}


def login_refused(error: Exception) -> ValueError | None:
    """Return the error to show if a Prefect API refuses the login, or None for any other error."""
    from httpx import HTTPStatusError

    if not isinstance(error, HTTPStatusError) or error.response.status_code not in REFUSED:
        return None
    got = "another login" if "Authorization" in error.request.headers else "none"
    return ValueError(
        f"The Prefect API requires the login of its server, got {got}: it answers {error.response.status_code} at "
        f"{without_login(str(error.request.url))}. {_LOGIN}"
    )


def prefect_api() -> str | None:
    """Return the URL of the Prefect API that the environment or the active profile names, or None."""
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    return url.rstrip("/") if url else None


def require_prefect(api: str, login: str | None = None) -> str:
    """Return the version of a Prefect API, which must answer with its login; empty for Prefect Cloud.

    Args:
        api: Its URL.
        login: name:password; None: as configured.

    Raises:
        ServerError: If it does not.
        ValueError: If the environment names a proxy that Prefect's client cannot use.
    """
    from prefect.settings import get_current_settings

    require_usable_proxies()
    settings = get_current_settings()
    if api.startswith(settings.cloud.api_url):
        return ""  # it tells no version, and Prefect's client checks the key
    configured = settings.api.auth_string
    if login is None and configured:
        login = configured.get_secret_value()
    server = Server(
        "prefect",
        "the Prefect API",
        api,
        "/admin/version",
        remedy="Start it, correct PREFECT_API_URL, which ends with /api, or unset it to run without.",
        login=f"{_LOGIN}.",
        headers=settings.client.custom_headers | basic(login or ""),
    )
    return require_version(server)


def _answer(url: str, headers: Mapping[str, str], seconds: float) -> Answer:
    ends = time.monotonic() + seconds
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            return Answer(None, error=f"an address of http or https is required, got {_plain(parts.scheme or url)}")
        request = Request(_without_user(parts), headers={**_login_of(parts), **headers})
        opener = _opener(parts)
        with opener.open(request, timeout=seconds) as answer:
            return Answer(answer.status, _body(cast(HTTPResponse, answer), ends))
    except HTTPError as refusal:
        with refusal:
            return Answer(refusal.code, _plain(refusal.headers.get("Location", "")))
    except Exception as error:  # each kind is an answer that is not one
        return Answer(None, error=_in_words(error))


def _opener(parts: SplitResult) -> OpenerDirector:
    """Return what opens a URL of http or https, and no other; a redirect is an `HTTPError`."""
    known = getproxies()
    proxy = None if parts.hostname in LOOPBACK else known.get(parts.scheme) or known.get("all")
    opener = OpenerDirector()
    for handler in (
        ProxyHandler({parts.scheme: proxy} if proxy else {}),
        HTTPHandler(),
        HTTPSHandler(),
        UnknownHandler(),
        HTTPDefaultErrorHandler(),
        HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _body(answer: HTTPResponse, ends: float) -> str:
    body = b""
    while piece := answer.read1(_BYTES):
        body += piece
        if len(body) > _BYTES:
            raise HTTPException(f"the answer is over {_BYTES >> 10} kB")
        if time.monotonic() > ends:
            raise TimeoutError("timed out")
    if answer.length:
        raise IncompleteRead(body, answer.length)
    return body.decode(errors="replace")


def _without_user(parts: SplitResult) -> str:
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _login_of(parts: SplitResult) -> dict[str, str]:
    return basic(unquote(f"{parts.username or ''}:{parts.password or ''}"))


def _in_words(error: Exception) -> str:
    """Return the cause of an error in one line; libraries put it at different places."""
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return "timed out"
    if isinstance(cause, OSError) and cause.strerror:
        return _plain(cause.strerror)
    told = _plain(str(cause))
    return told if isinstance(cause, str) else f"{type(cause).__name__} {told}".rstrip()


def _plain(text: str) -> str:
    """Return a server's words for a terminal: in one line, without control characters, and not too long."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text[:_CHARACTERS])
    return " ".join(plain.split())
