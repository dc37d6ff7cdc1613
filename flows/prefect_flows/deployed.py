"""The flows that prefect.yaml deploys: their parameters are a form on Prefect's page, checked before a run is made."""

import json
import socket
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from pydantic import Field

from flows.prefect_flows.train import trained_here
from flows.services.zombies import HOST
from flows.training.session import Session
from stages.params.file import load_params
from stages.params.record import Params
from stages.store.run import NEWEST

_TRIES = 6

ParamsFile = Annotated[
    str,
    Field(
        title="Parameter file",
        description="params.yaml, or a preset as presets/methods/mix-grpo.yaml, below the project's folder",
        pattern=r"^[^/].*\.yaml$",
    ),
]
_KEY = r"^[a-z_]+(\.[A-Za-z0-9_]+)+$"
Overrides = Annotated[
    dict[str, Any],
    Field(
        title="Overrides",
        description='Values in place of the file\'s, as {"update.learning_rate": 1.0e-4}',
        json_schema_extra={"propertyNames": {"pattern": _KEY}},
    ),
]
Rounds = Annotated[int, Field(ge=1, title="Rounds", description="Rounds to reach; null: those of the file")]
Seed = Annotated[int, Field(ge=0, title="Seed", description="Of every noise and draw of prompts; null: the file's")]
RunKey = Annotated[
    str, Field(min_length=4, title="Run", description="A run's key, or a beginning of it; null: the newest")
]
Plan = Annotated[
    str,
    Field(title="Plan", description="A plan of methods and seeds, as presets/compare.yaml", pattern=r"^[^/].*\.yaml$"),
]


@flow(name="train")
def train(
    params: ParamsFile = "params.yaml",
    overrides: Overrides = {},  # noqa: B006  Prefect reads defaults into the form; it is never changed
    rounds: Rounds | None = None,
    seed: Seed | None = None,
    final: bool = True,
) -> Any:
    """Align a policy: bring the run of these parameters to its number of rounds, going on where it stopped.

    Returns the run's key, or that of the child that a guard has made of it.

    Args:
        params: The parameter file, below the working directory.
        overrides: Values in place of the file's, by `section.key`.
        rounds: In place of run.rounds.
        seed: In place of run.seed.
        final: Whether base, best and last policy are judged on `report.split` at the end.
    """
    _begin()
    short = {"run.rounds": rounds, "run.seed": seed}
    chosen = overrides | {name: value for name, value in short.items() if value is not None}
    session = Session.of(_parsed(params, chosen))
    _call_it(f"train-{session.run.key}")
    return trained_here(session, final=final)


@flow(name="evaluate")
def evaluate(run: RunKey | None = None, overrides: Overrides = {}, out: str = "outputs/evaluation") -> str:  # noqa: B006
    """Judge base, best and last policy of a run on `report.split`; return the figures as text.

    Args:
        run: The run's key or a beginning of it; null takes the newest of the store.
        overrides: Values in place of the run's own of the sections evaluate, report and tracking.
        out: Folder of tables and metrics.json.
    """
    from flows.training.evaluation import evaluate_run
    from flows.upkeep.store_commands import find_whole

    _begin()
    found = find_whole(run or NEWEST)
    _call_it(f"evaluate-{found.key}")
    own = _parsed(str(found.path / "params.yaml"), {"prompts.path": str(found.prompts)} | overrides)
    return evaluate_run(found.key, own, Path(out))


@flow(name="compare")
def compare(plan: Plan = "presets/compare.yaml", out: str | None = None) -> str:
    """Compare methods at an equal budget of transformer evaluations, over seeds; return where the report lies.

    Args:
        plan: The plan; what it has trained already is not trained again.
        out: Folder of the report; null: outputs/compare/<plan>.
    """
    from flows.compare.run import compare as bring

    _begin()
    return bring(Path(plan), Path(out) if out else None)


def _begin() -> None:
    """Label this flow run with the machine, by which a lost process is found, before anything is loaded.

    One that has crashed again and again ends as Failed, which no automation answers.

    Raises:
        ValueError: With the number of tries.
    """
    if flow_run.run_count > _TRIES:
        raise ValueError(
            f"A flow run that has crashed {_TRIES} times is not tried again, got try {flow_run.run_count}. Look at its "
            "logs; what it had finished lies in the store, and a new flow run goes on with it."
        )
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(UUID(flow_run.id), {HOST: socket.gethostname()})


def _parsed(file: str, overrides: dict[str, Any]) -> Params:
    return load_params(Path(file), [f"{name}={json.dumps(value)}" for name, value in overrides.items()])


def _call_it(name: str) -> None:
    """Give this flow run the name of what it works on."""
    with get_client(sync_client=True) as client:
        client.update_flow_run(UUID(flow_run.id), name=name)
