"""A run on Prefect's page: a progress bar, a table of its rounds, a summary with the next commands."""

from collections.abc import Mapping
from typing import Any, cast
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.events import emit_event

from flows.common.escape import code, link, markdown
from flows.guards.finding import Finding
from flows.observers.observer import Ending, Evaluated, Observer
from stages.readings.metrics import trained_rewards
from stages.store.run import Run


class PrefectObserver(Observer):
    """Shows a run on the page of its flow run: a progress bar, and a table of its rounds."""

    def watch(self, run: Run, num_rounds: int) -> None:
        """Create the progress artifact, and add the finished rounds to the table."""
        self._run, self._num_rounds = run, num_rounds
        self._rows: dict[int, dict[str, Any]] = {}
        for number, metrics in enumerate(run.metrics()):
            self._add(number + 1, metrics)
        done = min(100.0, 100 * run.num_finished / num_rounds)
        made = create_progress_artifact(done, key=f"progress-{run.key}", description=f"Rounds of run {run.key}")
        self._progress = cast(UUID, made)  # outside an event loop the call is synchronous

    def round_finished(self, number: int, metrics: Mapping[str, float]) -> None:
        """Move the progress bar."""
        self._add(number + 1, metrics)
        update_progress_artifact(self._progress, 100 * (number + 1) / self._num_rounds)

    def evaluated(self, judged: Evaluated) -> None:
        """Add held-out rewards to a row, and show the table."""
        held_out = {f"{judged.split} {name}": round(value, 4) for name, value in judged.metrics.items()}
        self._rows.setdefault(judged.policy_round, {"round": judged.policy_round}).update(held_out)
        self._show()

    def guarded(self, finding: Finding) -> None:
        """Send an event, which can trigger an automation; see automations.yaml."""
        emit_event(
            event="g2rpo.guard.tripped",
            resource={"prefect.resource.id": f"g2rpo.run.{self._run.key}", "prefect.resource.name": self._run.key},
            payload={"guard": finding.guard, "action": finding.action, "round": finding.policy_round}
            | {"message": finding.message},
        )

    def close(self, ending: Ending) -> None:
        """Show the table of rounds, and create the summary page."""
        self._show()
        create_markdown_artifact(summary_page(self._run, ending), key=f"run-{self._run.key}")

    def _show(self) -> None:
        create_table_artifact(
            _filled(self._rows), key=f"rounds-{self._run.key}", description=f"Rounds of run {self._run.key}"
        )

    def _add(self, policy_round: int, metrics: Mapping[str, float]) -> None:
        trained = {f"reward {name}": value for name, value in trained_rewards(metrics).items()}
        shown = trained | {name: metrics[f"update/{name}"] for name in ("kl", "grad_norm", "clip_frac")}
        self._rows[policy_round] = {"round": policy_round} | {name: round(value, 5) for name, value in shown.items()}


def _filled(rows: Mapping[int, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows in order, each with all columns: the page shows the columns of the first row."""
    columns = dict.fromkeys(name for number in sorted(rows, reverse=True) for name in rows[number])
    return [{name: rows[number].get(name, "") for name in columns} for number in sorted(rows)]


def summary_page(run: Run, ending: Ending) -> str:
    """Return a summary of a run in Markdown: how it ended, links to its pages, the next commands, its ids."""
    links, key = run.links, run.key
    mlflow_url = links.get("mlflow_url")
    sentence = {
        "finished": "The run is complete.",
        "failed": "It has failed; the logs say why. Its finished work is in the store.",
        "stopped": "It was stopped; the same command or deployment resumes it.",
        "guarded": "A guard has ended it; the logs say which one, and what to do.",
    }
    pages = [link("Curves, parameters, figures and pictures in MLflow", mlflow_url or "")]
    before, after = links.get("mlflow_picture_before"), links.get("mlflow_picture_after")
    if before and after:
        pages += [
            "Before:\n\n" + link("pictures of the base", before, picture=True),
            "After:\n\n" + link("pictures of the aligned policy", after, picture=True),
        ]
    ids = {name.replace("_", " "): value for name, value in links.items() if not name.startswith(_SHOWN_AS_LINKS)}
    lines = [
        f"# Run {markdown(key)}",
        f"{run.num_finished} rounds are done. {sentence[ending]}",
        *(pages if mlflow_url else ["Its curves and pictures are in MLflow, under the id below."]),
        _table("to", "run", {to: f"{command} --run {key[:8]}{more}" for to, command, more in _NEXT}),
        _table("id", "value", ids | {"tables": str(run.path)}),
    ]
    return "\n\n".join(lines) + "\n"


_SHOWN_AS_LINKS = ("mlflow_picture", "mlflow_url")
"""Ids that the page shows as links."""

_NEXT = (
    ("continue or reproduce it", "g2rpo train", ""),
    ("write a report", "g2rpo report", ""),
    ("export the best policy", "g2rpo export", " --to FOLDER"),
    ("check all its files", "g2rpo verify", ""),
)


def _table(left: str, right: str, rows: Mapping[str, str]) -> str:
    return "\n".join(
        [f"| {left} | {right} |", "|---|---|", *(f"| {markdown(k)} | {code(v)} |" for k, v in rows.items())]
    )
