"""Servers that others run: what one replies, one that must answer, a login it refuses, the Prefect API in use."""

import urllib.error
import urllib.request
from http.client import HTTPException

REFUSED = (401, 403)
"""Statuses by which a server refuses a login, or that there is none."""

_SECONDS = 10


def reply(url: str, *, seconds: float = _SECONDS) -> int | OSError | HTTPException:
    """Return the status that a server replies with at a URL, be it a refusal, or why there is none.

    Redirections are followed. Example: 200 where all is well, 401 without a login, `URLError` where nobody listens,
    `BadStatusLine` where one does who speaks no HTTP.

    Args:
        url: Of http or https.
        seconds: How long it may take to connect, and to send a part of the reply.
    """
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:
            return answer.status
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code
    except (OSError, HTTPException) as error:
        return error


def require_answer(url: str, who: str, remedy: str) -> None:
    """Refuse a server that does not answer at a URL; any answer will do, also one that asks for a password.

    Raises:
        ValueError: With the URL, and what to do.
    """
    got = reply(url)
    if not isinstance(got, int):
        raise ValueError(f"{who} must answer at {url}, got: {got}. Start it, or {remedy}.")


def login_refused(error: Exception) -> ValueError | None:
    """Return what to tell a person if an error is that a Prefect API refuses the login, or else None."""
    from httpx import HTTPStatusError

    if not isinstance(error, HTTPStatusError) or error.response.status_code not in REFUSED:
        return None
    got = "another login" if "Authorization" in error.request.headers else "none"
    return ValueError(
        f"The Prefect API requires the login that its server was started with, got {got}: it answers "
        f"{error.response.status_code} at {error.request.url}. Set PREFECT_API_AUTH_STRING to name:password."
    )


def prefect_api() -> str | None:
    """Return the URL of the Prefect API that the environment or the active profile names, or None."""
    from prefect.settings import get_current_settings

    return get_current_settings().api.url
