"""Prefect, MLflow and the model hub: whether they answer, and whether they are of the same version."""

import base64
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version

from flows.doctor.check import Check
from stages.params import Params

_SECONDS = 5


def prefect() -> Iterator[Check]:
    """Ask the API that is configured, and look for flow runs without a process."""
    from flows.services.service import stored
    from flows.train import prefect_api

    own = stored("prefect")
    api = prefect_api() or (f"{own.url}/api" if own and own.running else None)
    if api is None:
        yield Check("prefect", "ok", "no API is configured: runs are plain calls")
        return
    said = _ask(f"{api}/admin/version", os.environ.get("PREFECT_API_AUTH_STRING", ""))
    remedy = "Start it, correct PREFECT_API_URL, or unset it to run without."
    found = _compared("prefect", api, said, remedy)
    yield found
    if found.state != "fault":
        yield from _zombies(api)


def mlflow(params: Params) -> Iterator[Check]:
    """Ask the tracking server that is configured."""
    from flows.tracking import tracking_uri

    uri = tracking_uri(params)
    if not uri.startswith("http"):
        yield Check("mlflow", "ok", uri)
        return
    remedy = "Start it, or correct tracking.uri or MLFLOW_TRACKING_URI."
    login = [os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD")]
    yield _compared("mlflow", uri, _ask(f"{uri.rstrip('/')}/version", ":".join(login)), remedy)


def hub(params: Params) -> Iterator[Check]:
    """See whether there is a token where weights come from the model hub."""
    from huggingface_hub import get_token

    path, revision = params.policy.path, getattr(params.policy, "revision", None)
    if not revision or path is None:
        yield Check("hub", "ok", "the base weights are not from a model hub")
    elif get_token() or os.environ.get("HF_HUB_OFFLINE"):
        yield Check("hub", "ok", f"{path} at {revision[:12]}, with a token")
    else:
        remedy = f"Accept the licence at https://huggingface.co/{path}, then `hf auth login` or set HF_TOKEN."
        yield Check("hub", "warn", f"{path} may be gated, and there is no token of the model hub", remedy)


def _zombies(api: str) -> Iterator[Check]:
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.services.zombies import zombies

    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        for run in zombies(client):
            told = f"it is {run.state_name} at Prefect, and its process, {run.infrastructure_pid}, is gone"
            remedy = "Give `g2rpo up`: it marks it as crashed, and it runs again."
            yield Check(f"flow run {run.name}", "fault", told, remedy)


def _compared(name: str, address: str, said: str | None, remedy: str) -> Check:
    own = version(name)
    if said is None:
        return Check(name, "fault", f"nothing answers at {address}", remedy)
    if not said:
        return Check(name, "warn", f"{address} does not tell its version: it asks for a password", "Log in as it asks.")
    if said != own:
        told = f"{address} is of version {said}, this package's is {own}"
        return Check(name, "fault", told, f"pip install {name}=={said} here, or {own} there: both must be alike.")
    return Check(name, "ok", f"{address}, version {said}")


def _ask(url: str, login: str) -> str | None:
    """Return the version that a server tells; None if it does not answer, an empty text if it refuses to tell."""
    token = base64.b64encode(login.encode()).decode()
    request = urllib.request.Request(url, headers={"Authorization": f"Basic {token}"} if login.strip(":") else {})
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError:
        return ""
    except OSError:
        return None
    try:
        return str(json.loads(text))
    except ValueError:
        return text.strip()
