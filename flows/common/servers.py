"""Checks of servers: reply, required answer, refused login; and the configured Prefect API."""

import urllib.error
import urllib.request
from http.client import HTTPException

REFUSED = (401, 403)
"""Statuses with which a server refuses a login, or a request without one."""

_SECONDS = 10


def reply(url: str, *, seconds: float = _SECONDS) -> int | OSError | HTTPException:
    """Return the status of a server's reply at a URL, including refusals, or the error if there is no reply.

    Redirections are followed. Example: 200 if all is well, 401 without a login, `URLError` if nothing listens,
    `BadStatusLine` if the listener does not speak HTTP.

    Args:
        url: A URL of http or https.
        seconds: Timeout, to connect and between parts of the reply.
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
    """Refuse a server that does not answer at a URL; any answer counts, even a request for a password.

    Raises:
        ValueError: With the URL and the remedy.
    """
    got = reply(url)
    if not isinstance(got, int):
        raise ValueError(f"{who} must answer at {url}, got: {got}. Start it, or {remedy}.")


def login_refused(error: Exception) -> ValueError | None:
    """Return the error to show if a Prefect API refuses the login, or None for any other error."""
    from httpx import HTTPStatusError

    if not isinstance(error, HTTPStatusError) or error.response.status_code not in REFUSED:
        return None
    got = "another login" if "Authorization" in error.request.headers else "none"
    return ValueError(
        f"The Prefect API requires the login of its server, got {got}: it answers "
        f"{error.response.status_code} at {error.request.url}. Set PREFECT_API_AUTH_STRING to name:password."
    )


def prefect_api() -> str | None:
    """Return the URL of the Prefect API that the environment or the active profile names, or None."""
    from prefect.settings import get_current_settings

    return get_current_settings().api.url
