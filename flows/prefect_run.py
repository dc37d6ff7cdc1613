"""Prefect: the train flow, its stage calls as tasks, and what its page shows of a run."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect import Task, flow
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.states import Cancelled, State

from flows.guards.finding import Finding
from flows.observers import Ending, Judged
from flows.session import Session
from flows.stopping import StopAskedError
from stages.execute import Done
from stages.metrics import trained_rewards
from stages.store import Run


def call_as_task(name: str, number: int, work: Callable[[], Done]) -> Done:
    """Call a stage as a Prefect task that is named after it and its round, as `rollout-r0007`.

    Nothing is cached or persisted by Prefect: what is done is told by the manifests in the store. The task has
    no tags: Prefect asks for a concurrency slot for each tag of each call, which took about 2 s.
    """
    task = Task(
        fn=work,
        name=name,
        task_run_name=f"{name}-r{number:04d}",
        cache_policy=NO_CACHE,
        persist_result=False,
    )
    return task()


class PrefectObserver:
    """Shows a run on the page of its flow run: a progress bar, and a table of its rounds."""

    def watch(self, run: Run, num_rounds: int) -> None:
        """Open the progress artifact, and take up the rounds that are done."""
        self._run, self._num_rounds = run, num_rounds
        self._rows: dict[int, dict[str, Any]] = {}
        for number, metrics in enumerate(run.metrics()):
            self._add(number + 1, metrics)
        done = min(100.0, 100 * run.num_finished / num_rounds)
        made = create_progress_artifact(done, key=f"progress-{run.key}", description=f"Rounds of run {run.key}")
        self._progress = cast(UUID, made)  # outside an event loop the call is synchronous

    def stage_started(self, stage: str, number: int) -> None:
        """The task run says so itself."""

    def round_finished(self, number: int, metrics: Mapping[str, float]) -> None:
        """Move the progress bar."""
        self._add(number + 1, metrics)
        update_progress_artifact(self._progress, 100 * (number + 1) / self._num_rounds)

    def evaluated(self, judged: Judged) -> None:
        """Complete a row with its held-out rewards, and show the table as it now is."""
        held_out = {f"{judged.split} {name}": round(value, 4) for name, value in judged.metrics.items()}
        self._rows.setdefault(judged.policy_round, {"round": judged.policy_round}).update(held_out)
        self._show()

    def guarded(self, finding: Finding) -> None:
        """Send an event, which an automation can answer; see automations.yaml."""
        emit_event(
            event="g2rpo.guard.tripped",
            resource={"prefect.resource.id": f"g2rpo.run.{self._run.key}", "prefect.resource.name": self._run.key},
            payload={"guard": finding.guard, "action": finding.action, "round": finding.policy_round}
            | {"told": finding.told},
        )

    def close(self, ending: Ending) -> None:
        """Show the rounds as they are, and leave a card that says where things lie and what they are called."""
        self._show()
        create_markdown_artifact(_card(self._run, ending), key=f"run-{self._run.key}")

    def _show(self) -> None:
        rows = [self._rows[number] for number in sorted(self._rows)]
        create_table_artifact(rows, key=f"rounds-{self._run.key}", description=f"Rounds of run {self._run.key}")

    def _add(self, policy_round: int, metrics: Mapping[str, float]) -> None:
        trained = {f"reward {name}": value for name, value in trained_rewards(metrics).items()}
        shown = trained | {name: metrics[f"update/{name}"] for name in ("kl", "grad_norm", "clip_frac")}
        self._rows[policy_round] = {"round": policy_round} | {name: round(value, 5) for name, value in shown.items()}


def _card(run: Run, ending: Ending) -> str:
    """Return what to know of a run, in Markdown: how far it is, where it lies, its ids elsewhere."""
    ids = "\n".join(f"| {name.replace('_', ' ')} | `{value}` |" for name, value in run.links.items())
    rounds = f"{run.num_finished} rounds are done, this session has {ending}."
    return f"Run `{run.key}`: {rounds} Tables: `{run.path}`.\n\n| id | |\n|---|---|\n{ids}\n"


@flow(name="train", flow_run_name="train-{key}")
def train_flow(key: str, params: dict[str, Any], final: bool = True, out: str | None = None) -> Any:
    """Bring the run of these parameters to its number of rounds; return its key, or that of the child it goes on as.

    Args:
        key: The run's key, for the name of the flow run.
        params: The tree of params.yaml.
        final: Whether base, best and last policy are judged on `report.split` at the end.
        out: Folder to link the run into, for DVC to keep.
    """
    return trained_here(Session.of(params), final=final, out=Path(out) if out else None)


def trained_here(session: Session, *, final: bool, out: Path | None = None) -> str | State[Any]:
    """Train within the present flow run; return the run's key, or Cancelled if `g2rpo stop` has asked for it."""
    links = {"prefect_flow_run_id": str(flow_run.id)}
    try:
        return session.train(call_as_task, observers=[PrefectObserver()], links=links, final=final, out=out).key
    except StopAskedError as asked:
        return Cancelled(message=str(asked))


def train_as_flow(key: str, params: dict[str, Any], final: bool, out: str | None) -> str:
    """Call `train_flow` in this process.

    Raises:
        StopAskedError: If `g2rpo stop` has asked for it; the flow run is Cancelled.
    """
    state = train_flow(key, params, final, out, return_state=True)
    if state.is_cancelled():
        raise StopAskedError(state.message)
    return state.result()
