"""Prefect, MLflow and the model hub: whether they answer, and whether they have the same version as here."""

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import version

from flows.common.login import prefect_at, prefect_client, stored_login
from flows.common.servers import ServerError
from flows.doctor.check import Check
from stages.params.addresses import without_login
from stages.params.record import Params


def prefect() -> Iterator[Check]:
    """Check the configured API, and look for flow runs without a process."""
    from flows.common.servers import prefect_api, require_prefect
    from flows.services.service import stored

    own = stored("prefect")
    own_api = f"{own.url}/api" if own and own.running else None
    api = prefect_api() or own_api
    if api is None:
        yield Check("prefect", "ok", "no API is configured: runs are plain calls")
        return
    login = stored_login() if api == own_api else None
    result = _checked("prefect", api, partial(require_prefect, login=login))
    yield result
    if result.state != "fault":
        yield from _zombies(prefect_client(api, login) if login else {"PREFECT_API_URL": api})


def mlflow(params: Params) -> Iterator[Check]:
    """Check the configured tracking server or database, the experiment, and the home of its artifacts."""
    from flows.tracking.recordable import require_experiment, require_mlflow, tracking_uri

    uri = tracking_uri(params)
    result = (
        _checked("mlflow", uri, require_mlflow) if uri.startswith("http") else Check("mlflow", "ok", without_login(uri))
    )
    if result.state == "fault":
        yield result
        return
    try:
        warning = require_experiment(params)
    except ServerError as error:
        yield Check("mlflow", "fault", error.message, error.remedy)
        return
    yield result
    if warning:
        message, _, remedy = warning.partition(": ")
        yield Check("mlflow", "warn", message, remedy)


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


def _zombies(servers: Mapping[str, str]) -> Iterator[Check]:
    from prefect.client.orchestration import get_client

    from flows.services.zombies import zombies

    with prefect_at(servers), get_client(sync_client=True) as client:
        for run in zombies(client):
            message = f"it is {run.state_name} at Prefect, but its process, {run.infrastructure_pid}, is gone"
            remedy = "Run `g2rpo up`: it marks the flow run as crashed, and Prefect runs it again."
            yield Check(f"flow run {run.name}", "fault", message, remedy)


def _checked(name: str, url: str, require: Callable[[str], str]) -> Check:
    """Check that a server answers as a run requires, and has the version of the package."""
    own = version(name)
    try:
        there = require(url)
    except ServerError as error:
        return Check(name, "fault", error.message, error.remedy)
    shown = without_login(url.rstrip("/"))
    if there in (own, ""):
        return Check(name, "ok", f"{shown}, version {there}" if there else shown)
    message = f"{shown} has version {there}, the package here has {own}"
    return Check(name, "fault", message, f"pip install {name}=={there} here, or {own} there: both must be equal.")
