"""A run in MLflow beside its metrics: tags, a description with commands, the prompts as datasets."""

import json
from typing import TYPE_CHECKING

from flows.common.escape import code, fenced
from stages.params.record import Params
from stages.store.run import Run
from stages.texts.lists import full_list

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

_CONTEXTS = {"prompts": "training", "evaluate": "choosing", "report": "reporting"}
"""Use of the prompts of each section."""


def tags_of(run: Run) -> dict[str, str]:
    """Return the ids of the run's last session as tags, git's and the parent's under the names that MLflow shows."""
    links = run.links
    tags = {f"g2rpo.{name}": value for name, value in links.items() if not name.startswith("mlflow_")}
    if run.parent:
        parent = Run(run.path.parent / run.parent["key"])
        parent_id = parent.links.get("mlflow_run_id") if (parent.path / "run.json").is_file() else None
        tags |= {"g2rpo.parent": run.parent["key"]} | ({"mlflow.parentRunId": parent_id} if parent_id else {})
    return tags | ({"mlflow.source.git.commit": links["git_commit"]} if "git_commit" in links else {})


def note_of(run: Run) -> str:
    """Return the description of a run, in Markdown: how to reproduce, continue and export it."""
    commit = run.links.get("git_commit")
    command = (f"git checkout {commit}\n" if commit else "") + "g2rpo train --params params.yaml"
    return (
        f"Run {code(run.key)} of the store at {code(run.path)}.\n\n"
        "**Reproduce it**, with `params.yaml` from the artifacts of this run:\n\n"
        f"{fenced(command, language='')}\n\n"
        f"**Continue it** where the store is: `g2rpo train --run {run.key}`\n\n"
        f"**Export it**: `g2rpo export --run {run.key} --to FOLDER`"
    )


def dataset_inputs(params: Params) -> "list[DatasetInput]":
    """Return the lists of prompts as MLflow's datasets, each with the digest of its texts."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = list["DatasetInput"]()
    for section, context in _CONTEXTS.items():
        split = getattr(params, section).split
        texts = full_list(params, split)
        source = json.dumps({"path": params.prompts.path or f"the prompts of the {params.policy.family} family"})
        profile = json.dumps({"num_rows": len(texts.texts)})
        dataset = Dataset(f"prompts/{split}", texts.digest[:36], "prompts", source, None, profile)
        inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", context)]))
    return inputs
