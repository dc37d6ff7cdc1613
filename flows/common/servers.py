"""Whether a server answers, told before anything is computed."""

import urllib.error
import urllib.request

REFUSED = (401, 403)
"""Statuses by which a server refuses a login, or that there is none."""

_SECONDS = 10


def require_answer(url: str, who: str, remedy: str) -> None:
    """Refuse a server that does not answer at a URL; any answer will do, also one that asks for a password.

    Raises:
        ValueError: With the URL, and what to do.
    """
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS):
            return
    except urllib.error.HTTPError:
        return
    except OSError as error:
        raise ValueError(f"{who} must answer at {url}, got: {error}. Start it, or {remedy}.") from None


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
