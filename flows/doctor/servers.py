"""Prefect, MLflow and the model hub: whether they answer, and whether they have the same version as here."""

import base64
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version

from flows.common.servers import REFUSED
from flows.doctor.check import Check
from stages.params.record import Params

_SECONDS = 5


@dataclass(frozen=True)
class _Server:
    """A server to check. Example: name "mlflow", url "http://127.0.0.1:5000", remedy "Start it."."""

    name: str
    url: str
    authorization: str
    """Value of the header Authorization; empty for none."""
    variables: str
    """Names of the environment variables with the login."""
    remedy: str
    """The remedy if it does not answer."""


@dataclass(frozen=True)
class _Answer:
    """A server's answer to a request. Example: status 200, text "3.8.8"; status None if it does not answer."""

    status: int | None
    text: str = ""


def prefect() -> Iterator[Check]:
    """Check the configured API, and look for flow runs without a process."""
    from prefect.settings import get_current_settings

    from flows.common.servers import prefect_api
    from flows.services.service import stored

    own = stored("prefect")
    api = prefect_api() or (f"{own.url}/api" if own and own.running else None)
    if api is None:
        yield Check("prefect", "ok", "no API is configured: runs are plain calls")
        return
    login = get_current_settings().api.auth_string
    remedy = "Start it, correct PREFECT_API_URL, or unset it to run without."
    header = _basic(login.get_secret_value() if login else "")
    result = _checked(_Server("prefect", api, header, "PREFECT_API_AUTH_STRING", remedy), "/admin/version")
    yield result
    if result.state != "fault":
        yield from _zombies(api)


def mlflow(params: Params) -> Iterator[Check]:
    """Check the configured tracking server."""
    from mlflow.utils.credentials import read_mlflow_creds

    from flows.tracking.observer import tracking_uri

    uri = tracking_uri(params)
    if not uri.startswith("http"):
        yield Check("mlflow", "ok", uri)
        return
    remedy = "Start it, or correct tracking.uri or MLFLOW_TRACKING_URI."
    login, token = read_mlflow_creds(), os.environ.get("MLFLOW_TRACKING_TOKEN")
    basic = _basic(f"{login.username or ''}:{login.password or ''}")
    header = f"Bearer {token}" if token and not basic else basic
    variables = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    server = _Server("mlflow", uri.rstrip("/"), header, variables, remedy)
    yield _checked(server, "/version", "/api/2.0/mlflow/experiments/search?max_results=1")  # the version needs no login


def hub(params: Params) -> Iterator[Check]:
    """Check that there is a token if weights come from the model hub."""
    from huggingface_hub import get_token

    path, revision = params.policy.path, getattr(params.policy, "revision", None)
    if not revision or path is None:
        yield Check("hub", "ok", "the base weights are not from a model hub")
    elif get_token() or os.environ.get("HF_HUB_OFFLINE"):
        yield Check("hub", "ok", f"{path} at {revision[:12]}, with a token")
    else:
        remedy = f"Accept the licence at https://huggingface.co/{path}, then `hf auth login` or set HF_TOKEN."
        yield Check("hub", "warn", f"{path} may be gated, and no token of the model hub is set", remedy)


def _zombies(api: str) -> Iterator[Check]:
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.services.zombies import zombies

    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        for run in zombies(client):
            message = f"it is {run.state_name} at Prefect, but its process, {run.infrastructure_pid}, is gone"
            remedy = "Run `g2rpo up`: it marks the flow run as crashed, and Prefect runs it again."
            yield Check(f"flow run {run.name}", "fault", message, remedy)


def _checked(server: _Server, version_path: str, *paths: str) -> Check:
    """Check that a server has the version of the package here, and answers at all paths with this login."""
    name, own = server.name, version(server.name)
    first = _ask(server, version_path)
    if first.status == 200 and first.text != own:
        message = f"{server.url} has version {first.text}, the package here has {own}"
        remedy = f"pip install {name}=={first.text} here, or {own} there: both must be equal."
        return Check(name, "fault", message, remedy)
    for path in (version_path, *paths):
        answer = first if path == version_path else _ask(server, path)
        if answer.status is None:
            return Check(name, "fault", f"nothing answers at {server.url}", server.remedy)
        if answer.status in REFUSED:
            message = f"{server.url} refuses the login, or requires one: it answers {answer.status} at {path}"
            return Check(name, "fault", message, f"Set {server.variables} to a login of this server.")
        if answer.status != 200:
            message = f"{server.url} does not answer like {name}: {answer.status} at {path}"
            return Check(name, "fault", message, server.remedy)
    return Check(name, "ok", f"{server.url}, version {first.text}")


def _basic(login: str) -> str:
    """Return the header for name:password; empty for none."""
    return f"Basic {base64.b64encode(login.encode()).decode()}" if login.strip(":") else ""


def _ask(server: _Server, path: str) -> _Answer:
    """Return a server's answer: its status, and its text or JSON value as text."""
    headers = {"Authorization": server.authorization} if server.authorization else {}
    request = urllib.request.Request(f"{server.url}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError as error:
        return _Answer(error.code)
    except OSError:
        return _Answer(None)
    try:
        return _Answer(200, str(json.loads(text)))
    except ValueError:
        return _Answer(200, text.strip())
