"""The login of the servers that g2rpo starts: a name and a random password."""

import base64
import hashlib
import secrets
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from flows.common.private import read_private, write_private
from stages.disk.root import store_root

_NAME = "g2rpo"


def new_login() -> str:
    """Return a name and a random password of 256 bits, as name:password."""
    return f"{_NAME}:{secrets.token_urlsafe(32)}"


def login_file() -> Path:
    """Return the file with the login of this store's servers."""
    return store_root() / "services" / "login"


def stored_login() -> str | None:
    """Return the login of this store's servers, as name:password; None if there is none yet.

    Raises:
        ValueError: If others can read its file.
    """
    return (read_private(login_file()) or "").strip() or None


def store_login() -> str:
    """Make a login for this store's servers, in a file that only its owner can read, and return it."""
    login = new_login()
    write_private(login_file(), f"{login}\n")
    return login


def kept_login() -> str:
    """Return the login of this store's servers, which is made if there is none yet."""
    return stored_login() or store_login()


def login_digest() -> str:
    """Return a digest of the stored login, by which a change is seen; empty if there is none."""
    login = stored_login()
    return hashlib.sha256(login.encode()).hexdigest()[:16] if login else ""


def authorization(login: str) -> str:
    """Return the value of the header Authorization for name:password."""
    return f"Basic {base64.b64encode(login.encode()).decode()}"


def prefect_settings(url: str, login: str) -> dict[str, str]:
    """Return the variables with which a Prefect server requires a login, and lets only its own pages call it.

    Prefect does not check the header Host; a page that reaches the server under another name has no login for it.

    Args:
        url: The server's address on the loopback, without `/api`.
        login: name:password.
    """
    port = urlsplit(url).port
    return {
        "PREFECT_SERVER_API_AUTH_STRING": login,
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{port},http://localhost:{port}",
        "PREFECT_UI_API_URL": f"{url}/api",
    }


def prefect_client(api: str, login: str) -> dict[str, str]:
    """Return the variables with which Prefect's clients find an API and log in."""
    return {"PREFECT_API_URL": api, "PREFECT_API_AUTH_STRING": login}


@contextmanager
def prefect_at(servers: Mapping[str, str]) -> Generator[None]:
    """Have Prefect's clients of this process use the API, and the login if there is one, of these variables."""
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    settings = {setting.name: setting for setting in (PREFECT_API_URL, PREFECT_API_AUTH_STRING)}
    with temporary_settings({setting: servers[name] for name, setting in settings.items() if name in servers}):
        yield


def mlflow_client(login: str) -> dict[str, str]:
    """Return the variables with which MLflow's clients log in."""
    name, _, password = login.partition(":")
    return {"MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": password}
