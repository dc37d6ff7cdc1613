"""The flows that prefect.yaml deploys. Prefect's page shows their parameters as a form, and checks them first."""

import socket
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.exceptions import TerminationSignal
from prefect.runtime import flow_run
from pydantic import Field

from flows.prefect_flows.train import trained_here
from flows.services.zombies import HOST
from flows.training.session import Session
from stages.params.file import load_params, override
from stages.params.record import Params
from stages.store.run import NEWEST

_TRIES = 6

ParamsFile = Annotated[
    str,
    Field(
        title="Parameter file",
        description="params.yaml, or a preset such as presets/methods/mix-grpo.yaml, below the project's folder",
        pattern=r"^[^/].*\.yaml$",
    ),
]
_KEY = r"^[a-z_]+(\.[A-Za-z0-9_]+)+$"
Overrides = Annotated[
    dict[str, Any],
    Field(
        title="Overrides",
        description='Values that replace those of the file, such as {"update.learning_rate": 1.0e-4}',
        json_schema_extra={"propertyNames": {"pattern": _KEY}},
    ),
]
Rounds = Annotated[int, Field(ge=1, title="Rounds", description="Rounds to reach; null: as in the file")]
Seed = Annotated[
    int, Field(ge=0, title="Seed", description="Seed of all noise and draws of prompts; null: as in the file")
]
RunKey = Annotated[
    str, Field(min_length=4, title="Run", description="A run's key, or its first characters; null: the newest run")
]
Plan = Annotated[
    str,
    Field(
        title="Plan", description="A plan of methods and seeds, such as presets/compare.yaml", pattern=r"^[^/].*\.yaml$"
    ),
]


@flow(name="train")
def train(
    params: ParamsFile = "params.yaml",
    overrides: Overrides = {},  # noqa: B006  Prefect reads defaults into the form; it is never changed
    rounds: Rounds | None = None,
    seed: Seed | None = None,
    final: bool = True,
) -> Any:
    """Align a policy: train the run of these parameters to its number of rounds, from where it stopped.

    Returns the run's key, or that of its child after a rollback.

    Args:
        params: The parameter file, below the working directory.
        overrides: Values that replace those of the file, by `section.key`.
        rounds: Replaces run.rounds.
        seed: Replaces run.seed.
        final: Whether to evaluate base, best and last policy on `report.split` at the end.
    """
    _label_flow_run()
    short = {"run.rounds": rounds, "run.seed": seed}
    values = overrides | {name: value for name, value in short.items() if value is not None}
    session = Session.of(_parsed(params, values))
    _name_flow_run(f"train-{session.run.key}")
    try:
        return trained_here(session, final=final)
    except TerminationSignal:
        get_run_logger().warning(
            f"run {session.run.key} is stopped by SIGTERM; its finished work is in the store, and a new flow run of "
            "this deployment continues it"
        )
        raise


@flow(name="evaluate")
def evaluate(run: RunKey | None = None, overrides: Overrides = {}, out: str = "outputs/evaluation") -> str:  # noqa: B006
    """Evaluate base, best and last policy of a run on `report.split`; return the results as text.

    Args:
        run: The run's key or its first characters; null takes the newest run of the store.
        overrides: Values that replace those of the run, in the sections evaluate, report and tracking.
        out: Folder for tables and metrics.json.
    """
    from flows.training.evaluation import evaluate_run
    from flows.upkeep.store_commands import find_whole, own_params

    _label_flow_run()
    stored = find_whole(run or NEWEST)
    _name_flow_run(f"evaluate-{stored.key}")
    return evaluate_run(stored.key, own_params(stored, _words(overrides)), Path(out))


@flow(name="compare")
def compare(plan: Plan = "presets/compare.yaml", out: str | None = None) -> str:
    """Compare methods at an equal budget of transformer evaluations, over seeds; return the path of the report.

    Args:
        plan: The plan; runs that are already trained are not trained again.
        out: Folder of the report; null: outputs/compare/<plan>.
    """
    from flows.compare.run import compare as compare_plan

    _label_flow_run()
    return compare_plan(Path(plan), Path(out) if out else None)


def _label_flow_run() -> None:
    """Label this flow run with the machine, to find a lost process later, before anything is loaded.

    A flow run that crashes repeatedly ends as Failed, which triggers no automation.

    Raises:
        ValueError: After too many tries.
    """
    if flow_run.run_count > _TRIES:
        raise ValueError(
            f"A flow run that has crashed {_TRIES} times is not tried again, got try {flow_run.run_count}. Read its "
            "logs; its finished work is in the store, and a new flow run continues it."
        )
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(UUID(flow_run.id), {HOST: socket.gethostname()})


def _parsed(file: str, overrides: dict[str, Any]) -> Params:
    return load_params(Path(file), _words(overrides))


def _words(overrides: dict[str, Any]) -> list[str]:
    return [override(name, value) for name, value in overrides.items()]


def _name_flow_run(name: str) -> None:
    """Set the name of this flow run."""
    with get_client(sync_client=True) as client:
        client.update_flow_run(UUID(flow_run.id), name=name)
