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
