"""The log of a run: the lines of the console with their times, in `logs/<key>.log` of the store."""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

from flows.guards.finding import Finding
from flows.observers.observer import Ending, Evaluated, Observer
from stages.disk.files import make_folder
from stages.disk.root import store_root
from stages.readings.metrics import trained_rewards
from stages.store.run import Run


def log_path(key: str) -> Path:
    """Return the log of a run."""
    return store_root() / "logs" / f"{key}.log"


class LogObserver(Observer):
    """Appends a line for each round, evaluation and guard finding."""

    def watch(self, run: Run, num_rounds: int) -> None:
        """Log the finished rounds and the target."""
        self._path = log_path(run.key)
        make_folder(self._path.parent)
        self._append(f"goes on after {run.num_finished} of {num_rounds} rounds")

    def round_finished(self, number: int, metrics: Mapping[str, float]) -> None:
        """Log its rewards, and how far the policy has moved."""
        rewards = " ".join(f"{name} {value:.4f}" for name, value in trained_rewards(metrics).items())
        moved = " ".join(f"{name} {metrics[f'update/{name}']:.3g}" for name in ("kl", "grad_norm", "learning_rate"))
        self._append(f"round {number + 1}: {rewards} {moved}")

    def evaluated(self, judged: Evaluated) -> None:
        """Log the held-out rewards."""
        means = " ".join(f"{name} {value:.4f}" for name, value in judged.metrics.items())
        self._append(f"{judged.split} after {judged.policy_round}: {means}")

    def guarded(self, finding: Finding) -> None:
        """Log what a guard has found."""
        self._append(finding.line())

    def close(self, ending: Ending) -> None:
        """Log how the run ended."""
        self._append(ending)

    def _append(self, line: str) -> None:
        with self._path.open("a", encoding="utf-8") as out:
            out.write(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {line}\n")


def lines_of(path: Path, count: int, *, follow: Callable[[], bool] | None) -> Iterator[str]:
    """Yield the last lines of a log, then new lines as long as `follow` returns that a process writes it.

    Raises:
        ValueError: If there is no such log.
    """
    if not path.is_file():
        raise ValueError(f"A log is required, got none at {path}. It exists once a run or a service has started.")
    with path.open(errors="replace", encoding="utf-8") as log:
        yield from [line.rstrip("\n") for line in log.readlines()[-count:]]
        while follow:
            written = follow()  # before reading, so that the last lines of a process that just ended are read
            yield from (line.rstrip("\n") for line in log)
            if not written:
                return
            time.sleep(0.5)
