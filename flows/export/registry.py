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

from flows.export.model_card import Exported
from flows.tracking.observer import MlflowObserver, answering, tracking_uri
from stages.readings.best_round import held_out_history

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_ALIAS = re.compile(r"(?!latest$|v\d+$)[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Registration:
    """Under what name a policy is handed to others. Example: name "shapes", alias "champion"."""

    name: str
    """Of the registered model; each export is its next version."""
    alias: str
    """Of the version: `models:/shapes@champion` loads it, until another version takes the alias over."""

    def __post_init__(self) -> None:
        """Refuse an alias that MLflow would refuse after the export."""
        if not _ALIAS.fullmatch(self.alias):
            raise ValueError(
                "--alias: letters, digits, - and _ are required, and neither latest nor v with a number, got "
                f"{self.alias!r}. As --alias champion."
            )
        if not self.name or set(self.name) & set("/:."):
            raise ValueError(
                f"--register: a name without / : and . is required, got {self.name!r}. As --register shapes."
            )


def register(folder: Path, exported: Exported, asked: Registration) -> str:
    """Log an exported policy as a model of its MLflow run, register it, and return a line on it.

    A LoRA is logged with MLflow's flavour of diffusers, which `mlflow.diffusers.load_model` reads, and with its model
    card, whose code sets the schedule that it was trained for; a pipeline as the folder that `from_pretrained` reads.

    Args:
        folder: What `export` has written.
        exported: What it is.
        asked: Name and alias.

    Raises:
        ValueError: If MLflow cannot be written to; the folder stays.
    """
    from mlflow.entities import LoggedModelOutput
    from mlflow.tracking import MlflowClient

    run, params = exported.run, exported.params
    tracker = MlflowObserver(params)
    tracker.show(run)
    uri = tracking_uri(params)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    with answering(uri), _everywhere(uri), tempfile.TemporaryDirectory() as temporary:
        model_folder = Path(temporary) / "model"
        _save(folder, model_folder, exported)
        experiment = client.get_run(tracker.run_id).info.experiment_id
        tags = {"g2rpo.run_key": run.key, "g2rpo.policy_round": str(exported.rounds)}
        kind = "lora" if exported.as_lora else "pipeline"
        model = client.create_logged_model(experiment, f"{asked.name}-{kind}", tracker.run_id, tags, model_type=kind)
        client.log_model_artifacts(model.model_id, str(model_folder))
        client.finalize_logged_model(model.model_id, "READY")
        client.log_outputs(tracker.run_id, [LoggedModelOutput(model.model_id, exported.rounds)])
        version = _version(client, asked, exported, tracker.run_id, model.model_id)
    return f"models:/{asked.name}@{asked.alias} is version {version} of {asked.name} at {uri}"


@contextmanager
def _everywhere(uri: str) -> Generator[None]:
    """Have MLflow's registry find the logged model where the run is: it asks the process's URI, not its client's."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    os.environ["MLFLOW_TRACKING_URI"] = uri
    try:
        yield
    finally:
        del os.environ["MLFLOW_TRACKING_URI"]
        os.environ |= {"MLFLOW_TRACKING_URI": before} if before else {}


def _save(folder: Path, to: Path, exported: Exported) -> None:
    """Lay out what was exported as a model of MLflow."""
    import mlflow.diffusers
    from mlflow.models import Model

    logging.getLogger("mlflow").setLevel(logging.ERROR)  # a hub that cannot be reached is told elsewhere
    metadata = {"run_key": exported.run.key, "policy_round": exported.rounds}
    if exported.as_lora:
        base = exported.hub_id or str(getattr(exported.params.policy, "path", ""))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # MLflow's, of its own annotations
            mlflow.diffusers.save_model(str(folder), str(to), base, metadata=metadata)
        shutil.copytree(folder, to / "card", ignore=shutil.ignore_patterns("*.safetensors"))
    else:
        shutil.copytree(folder, to / "pipeline")
        Model(flavors={"diffusers_pipeline": {"data": "pipeline"}}, metadata=metadata).save(str(to / "MLmodel"))


def _version(client: "MlflowClient", asked: Registration, exported: Exported, run_id: str, model_id: str) -> str:
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(asked.name)
    except MlflowException:
        client.create_registered_model(asked.name, description="Policies aligned by G²RPO; see each version's run.")
    made = client.create_model_version(
        asked.name, f"models:/{model_id}", run_id, description=_told(exported), model_id=model_id
    )
    client.set_registered_model_alias(asked.name, asked.alias, made.version)
    return made.version


def _told(exported: Exported) -> str:
    run, params = exported.run, exported.run.params()
    judged = held_out_history(run, params).get(exported.rounds, {})
    figures = ", ".join(f"{name} {value:.4f}" for name, value in judged.items())
    return f"Run {run.key} after {exported.rounds} rounds" + (
        f"; {params.evaluate.split}: {figures}" if figures else ""
    )
