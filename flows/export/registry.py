"""An exported policy in MLflow: a logged model of its run, and a version of a registered model with an alias."""

import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flows.common.escape import markdown
from flows.export.model_card import Exported
from flows.tracking.observer import MlflowObserver
from flows.tracking.recordable import answering, require_place, tracking_uri
from stages.params.addresses import without_login
from stages.readings.best_round import held_out_history

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_ALIAS = re.compile(r"(?!latest$|v\d+$)[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Registration:
    """Name and alias of a policy in MLflow's registry. Example: name "shapes", alias "champion"."""

    name: str
    """Name of the registered model; each export is its next version."""
    alias: str
    """Alias of the version: `models:/shapes@champion` loads it, until another version takes the alias."""

    def __post_init__(self) -> None:
        """Refuse an alias that MLflow would refuse after the export."""
        if not _ALIAS.fullmatch(self.alias):
            raise ValueError(
                "--alias: letters, digits, - and _ are required, and neither latest nor v with a number, got "
                f"{self.alias!r}. Example: --alias champion."
            )
        if not self.name or set(self.name) & set("/:."):
            raise ValueError(
                f"--register: a name without / : and . is required, got {self.name!r}. Example: --register shapes."
            )


def register(folder: Path, exported: Exported, asked: Registration) -> str:
    """Log an exported policy as a model of its MLflow run, register it, and return a message.

    A LoRA is logged in MLflow's flavour for diffusers, which `mlflow.diffusers.load_model` reads, with its model card,
    whose code sets the schedule of the training; a pipeline is logged as the folder that `from_pretrained` reads.

    Args:
        folder: Folder of the exported policy.
        exported: The exported policy.
        asked: Name and alias.

    Raises:
        ValueError: If MLflow cannot be written; the folder stays.
    """
    from mlflow.entities import LoggedModelOutput
    from mlflow.tracking import MlflowClient

    run, params = exported.run, exported.params
    tracker = MlflowObserver(params)
    tracker.show(run)
    uri = tracking_uri(params)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    with answering(uri), _environment_uri(uri), tempfile.TemporaryDirectory() as temporary:
        model_folder = Path(temporary) / "model"
        _save(folder, model_folder, exported)
        experiment = client.get_run(tracker.run_id).info.experiment_id
        tags = {"g2rpo.run_key": run.key, "g2rpo.policy_round": str(exported.rounds)}
        kind = "lora" if exported.as_lora else "pipeline"
        model = client.create_logged_model(experiment, f"{asked.name}-{kind}", tracker.run_id, tags, model_type=kind)
        require_place(client, uri, model.model_id, "logged_model")
        client.log_model_artifacts(model.model_id, str(model_folder))
        client.finalize_logged_model(model.model_id, "READY")
        client.log_outputs(tracker.run_id, [LoggedModelOutput(model.model_id, exported.rounds)])
        version = _version(client, asked, exported, tracker.run_id, model.model_id)
    return f"models:/{asked.name}@{asked.alias} is version {version} of {asked.name} at {without_login(uri)}"


@contextmanager
def _environment_uri(uri: str) -> Generator[None]:
    """Set MLFLOW_TRACKING_URI, since MLflow's registry looks for logged models at it, not at its client's URI."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    os.environ["MLFLOW_TRACKING_URI"] = uri
    try:
        yield
    finally:
        del os.environ["MLFLOW_TRACKING_URI"]
        os.environ |= {"MLFLOW_TRACKING_URI": before} if before else {}


def _save(folder: Path, to: Path, exported: Exported) -> None:
    """Write an exported policy in the layout of an MLflow model."""
    import mlflow.diffusers
    from mlflow.models import Model

    logging.getLogger("mlflow").setLevel(logging.ERROR)  # an unreachable hub is reported elsewhere
    metadata = {"run_key": exported.run.key, "policy_round": exported.rounds}
    if exported.as_lora:
        base = exported.hub_id or str(getattr(exported.params.policy, "path", ""))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # MLflow warns of its own annotations
            mlflow.diffusers.save_model(str(folder), str(to), base, metadata=metadata)
        shutil.copytree(folder, to / "card", ignore=shutil.ignore_patterns("*.safetensors"))
    else:
        shutil.copytree(folder, to / "pipeline")
        Model(flavors={"diffusers_pipeline": {"data": "pipeline"}}, metadata=metadata).save(str(to / "MLmodel"))


def _version(client: "MlflowClient", registration: Registration, exported: Exported, run_id: str, model_id: str) -> str:
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(registration.name)
    except MlflowException:
        client.create_registered_model(
            registration.name, description="Policies aligned by G²RPO; see each version's run."
        )
    made = client.create_model_version(
        registration.name, f"models:/{model_id}", run_id, description=_description(exported), model_id=model_id
    )
    client.set_registered_model_alias(registration.name, registration.alias, made.version)
    return made.version


def _description(exported: Exported) -> str:
    run, params = exported.run, exported.run.params()
    means = held_out_history(run, params).get(exported.rounds, {})
    figures = ", ".join(f"{markdown(name)} {value:.4f}" for name, value in means.items())
    return f"Run {run.key} after {exported.rounds} rounds" + (
        f"; {params.evaluate.split}: {figures}" if figures else ""
    )
