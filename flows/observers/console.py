"""Progress of a run on the console: a live bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from flows.common.escape import cell, say, visible
from flows.guards.finding import Finding
from flows.observers.observer import Ending, Evaluated, Observer
from stages.readings.metrics import trained_rewards
from stages.store.run import Run


class ConsoleObserver(Observer):
    """Shows round, stage, trained reward, held-out rewards and the time left.

    Example of a plain line: `round 10/80  reward judge_a 0.781  tuning after 10: rule_strict 0.450  1:40 left`.
    """

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._console = Console(stderr=True)
        self._trained = self._held_out = ""

    def watch(self, run: Run, num_rounds: int) -> None:
        """Open the bar, or print the first line."""
        self._num_rounds, self._began, self._first = num_rounds, time.monotonic(), run.num_finished
        if self._live:
            self._bar = Progress(
                TextColumn("[bold]{task.description}", table_column=Column(min_width=9, no_wrap=True)),
                BarColumn(bar_width=16),
                MofNCompleteColumn(table_column=Column(no_wrap=True)),
                TimeRemainingColumn(table_column=Column(no_wrap=True)),
                TextColumn(
                    "{task.fields[scores]}",
                    markup=False,
                    table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
                ),
                console=self._console,
                expand=True,
            )
            self._task = self._bar.add_task("start", total=num_rounds, completed=self._first, scores="")
            self._bar.start()
        else:
            self._print(f"run {run.key}: {self._first} of {num_rounds} rounds are done ({run.path})")

    def stage_started(self, stage: str, number: int) -> None:
        """Show the stage on the bar."""
        if self._live:
            self._bar.update(self._task, description=f"{stage:<9}")

    def round_finished(self, number: int, metrics: Mapping[str, float]) -> None:
        """Move the bar; print a plain line for every tenth round."""
        self._trained = "reward " + _scores(trained_rewards(metrics))
        self._show(number + 1)
        if not self._live and ((number + 1) % 10 == 0 or number + 1 == self._num_rounds):
            done = f"round {number + 1}/{self._num_rounds}"
            self._print("  ".join((done, self._trained, self._held_out, self._left(number + 1))))

    def evaluated(self, judged: Evaluated) -> None:
        """Show held-out rewards."""
        self._held_out = f"{judged.split} after {judged.policy_round}: " + _scores(judged.metrics)
        self._show(None)
        if not self._live:
            self._print(self._held_out)

    def guarded(self, finding: Finding) -> None:
        """Print what a guard has found."""
        self._console.print(cell(f"warning: {finding.line()}"), highlight=False, soft_wrap=True)

    def close(self, ending: Ending) -> None:
        """Stop the bar, so that the terminal is as before."""
        if self._live:
            self._bar.stop()

    def _show(self, completed: int | None) -> None:
        if self._live:
            scores = visible(f"{self._trained}  {self._held_out}")
            self._bar.update(self._task, completed=completed, scores=scores)

    def _left(self, done: int) -> str:
        seconds = (time.monotonic() - self._began) / (done - self._first) * (self._num_rounds - done)
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d} left"

    def _print(self, line: str) -> None:
        say(line, file=sys.stderr, flush=True)


def _scores(metrics: Mapping[str, float]) -> str:
    return " ".join(f"{name} {value:.3f}" for name, value in metrics.items() if "/" not in name)
