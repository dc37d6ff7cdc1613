"""Progress of a plan on the console: a line for each run that has ended."""

import sys
import time

from flows.common.escape import say
from flows.common.rows import pick
from flows.compare.comparison import Comparison
from flows.compare.stored import Placed, measured


class Progress:
    """Prints a line for each run that has ended, with its headline figure and the estimated time left.

    Example: `12/25 mix_grpo, seed 103: 63 s, rule_strict .612; about 6:30 left`.
    """

    def __init__(self, comparison: Comparison, missing: int) -> None:
        self._comparison, self._total = comparison, len(comparison.runs)
        self._first = self._ended = self._total - missing
        self._began, self._metric = time.monotonic(), comparison.plan.metric
        self.failed: dict[str, str] = {}
        """Error messages, by the name of the run."""
        self.rows: list[dict[str, str]] = []
        """The line of each run, as a table."""
        rest = f"{missing} to go, {min(comparison.plan.processes, missing)} at a time" if missing else "all of them"
        _print(f"{comparison.path}: {self._first} of {self._total} runs are done, {rest}")

    def succeeded(self, placed: Placed, seconds: float) -> None:
        """Report a finished run."""
        run = measured(placed)
        if run is None:
            self.failed_with(placed, "it has ended and is not complete; run the same command again")
            return
        last = {"policy_round": len(run.rounds), "split": placed.split, "reward": self._metric}
        value = pick(run.scores, **last)[0]["value"]
        self._report(placed, f"{seconds:.0f} s, {self._metric} {value:.3f} on {placed.split}")

    def failed_with(self, placed: Placed, error: str) -> None:
        """Report a failed run, and keep its error for the end."""
        self.failed[placed.cell.name] = f"{error} (log: {placed.log(self._comparison.name)})"
        self._report(placed, f"failed: {error.splitlines()[0]}")

    def _report(self, placed: Placed, result: str) -> None:
        self._ended += 1
        self.rows.append({"run": placed.cell.name, "key": placed.key, "result": result})
        each = (time.monotonic() - self._began) / (self._ended - self._first)
        left = int(each * (self._total - self._ended))
        more = f"; about {left // 60}:{left % 60:02d} left" if left else ""
        _print(f"{self._ended}/{self._total} {placed.cell.name}: {result}{more}")


def _print(line: str) -> None:
    say(line, file=sys.stderr, flush=True)
