"""What a person sees while the runs of a plan go on: a line for each that has ended."""

import sys
import time

from flows.common.rows import pick
from flows.compare.comparison import Comparison
from flows.compare.stored import Placed, measured


class Progress:
    """A line for each run that has ended, with its headline figure and the time that the others may take.

    Example: `12/25 mix_grpo, seed 103: 63 s, rule_strict .612; about 6:30 left`.
    """

    def __init__(self, comparison: Comparison, missing: int) -> None:
        self._comparison, self._total = comparison, len(comparison.runs)
        self._first = self._ended = self._total - missing
        self._began, self._metric = time.monotonic(), comparison.plan.metric
        self.failed: dict[str, str] = {}
        """What went wrong, by the name of the run."""
        self.rows: list[dict[str, str]] = []
        """What was told of each run, as a table."""
        told = f"{missing} to go, {min(comparison.plan.processes, missing)} at a time" if missing else "all of them"
        _say(f"{comparison.path}: {self._first} of {self._total} runs are done, {told}")

    def succeeded(self, placed: Placed, seconds: float) -> None:
        """Tell of a run that has come to its end."""
        found = measured(placed)
        if found is None:
            self.failed_with(placed, "it has ended and is not whole; give the same command again")
            return
        last = {"policy_round": len(found.rounds), "split": placed.split, "reward": self._metric}
        value = pick(found.scores, **last)[0]["value"]
        self._tell(placed, f"{seconds:.0f} s, {self._metric} {value:.3f} on {placed.split}")

    def failed_with(self, placed: Placed, error: str) -> None:
        """Tell of a run that has failed, and keep it for the end."""
        self.failed[placed.cell.name] = f"{error} (log: {placed.log(self._comparison.name)})"
        self._tell(placed, f"failed: {error.splitlines()[0]}")

    def _tell(self, placed: Placed, told: str) -> None:
        self._ended += 1
        self.rows.append({"run": placed.cell.name, "key": placed.key, "told": told})
        each = (time.monotonic() - self._began) / (self._ended - self._first)
        left = int(each * (self._total - self._ended))
        more = f"; about {left // 60}:{left % 60:02d} left" if left else ""
        _say(f"{self._ended}/{self._total} {placed.cell.name}: {told}{more}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
