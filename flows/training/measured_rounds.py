"""A few real rounds in a temporary folder, to measure the seconds, bytes and memory of a run."""

import contextlib
import io
import os
import tempfile
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.observers.observer import Evaluated, Observer
from flows.training.loop import call_plainly
from flows.training.session import Session
from stages.contract.declared_stages import EVALUATE, ROUND_STAGES
from stages.disk.root import store_root
from stages.params.record import Params
from stages.readings.metrics import finished_manifest
from stages.store.run import Run

_ROUNDS = 4  # the first loads models and warms up: it is not counted


@dataclass(frozen=True)
class MeasuredRounds:
    """Time, disk and memory of a run, as measured."""

    start_seconds: float
    """Seconds before the first round: checks, loading, warming up."""
    round_seconds: float
    """Seconds of a round, observers included."""
    seconds_an_evaluation: float
    """Seconds of a transformer evaluation on held-out prompts, with the rewards."""
    output_bytes: dict[str, int]
    """Bytes of a round by output."""
    peak_bytes: int
    """Peak memory of the stages: GPU memory, or that of the process on a CPU."""

    @property
    def round_bytes(self) -> int:
        """Bytes that a round writes."""
        return sum(self.output_bytes.values())


def try_out(params: Params) -> MeasuredRounds:
    """Run a few rounds, evaluate a few prompts, and remove what they have written.

    Encoded texts stay in the store's cache.
    """
    few = min(params.evaluate.num_prompts, 2 * params.evaluate.micro_batch)
    short = {"run.rounds": _ROUNDS, "evaluate.every": 10 * _ROUNDS, "evaluate.num_prompts": few}
    with _temporary_store() as folder:
        apart = {"guards.time.action": "ignore", "tracking.uri": f"sqlite:///{folder / 'mlflow.db'}"}
        clock = _Clock()
        session = Session.of(params.with_values(short | apart), adopting=False)
        session.train(call_plainly, observers=[clock], final=False, obey=False)
        return clock.measured(session.run)


@contextlib.contextmanager
def _temporary_store() -> Generator[Path]:
    """Use a temporary store on the same disk, with the caches of this one; print nothing."""
    own = store_root().resolve()
    own.mkdir(parents=True, exist_ok=True)
    before = os.environ.get("G2RPO_HOME")
    with tempfile.TemporaryDirectory(prefix="measure-", dir=own) as name:
        folder = Path(name)
        for cache in ("embeddings", "digests"):
            (own / cache).mkdir(exist_ok=True)
            (folder / cache).symlink_to(own / cache)
        os.environ["G2RPO_HOME"] = name
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                yield folder
        finally:
            if before is None:
                del os.environ["G2RPO_HOME"]
            else:
                os.environ["G2RPO_HOME"] = before


class _Clock(Observer):
    """Records the times of rounds and evaluations."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._rounds = list[float]()
        self._evaluations = list[tuple[float, Path]]()
        self._stage_began = 0.0

    def stage_started(self, stage: str, number: int) -> None:
        """Record the time."""
        self._stage_began = time.perf_counter()

    def round_finished(self, number: int, metrics: Mapping[str, float]) -> None:
        """Record the time."""
        self._rounds.append(time.perf_counter())

    def evaluated(self, judged: Evaluated) -> None:
        """Record how long it took."""
        self._evaluations.append((time.perf_counter() - self._stage_began, judged.folder))

    def measured(self, run: Run) -> MeasuredRounds:
        """Return the measurements, without the first round and the first evaluation."""
        round_seconds = (self._rounds[-1] - self._rounds[0]) / (len(self._rounds) - 1)
        seconds, folder = self._evaluations[-1]
        last = run.round_folder(_ROUNDS - 1)
        manifests = [finished_manifest(last, stage) for stage in ROUND_STAGES]
        sizes = {name: out["bytes"] for manifest in manifests for name, out in manifest["outputs"].items()}
        return MeasuredRounds(
            start_seconds=max(0.0, self._rounds[0] - self._began - self._evaluations[0][0] - round_seconds),
            round_seconds=round_seconds,
            seconds_an_evaluation=seconds / finished_manifest(folder, EVALUATE)["evaluations"],
            output_bytes=sizes,
            peak_bytes=max(manifest["peak_bytes"] for manifest in manifests),
        )
