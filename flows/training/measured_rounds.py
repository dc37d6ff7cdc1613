"""A few real rounds in a folder of their own, from which a whole run's seconds, bytes and memory are told."""

import contextlib
import io
import os
import tempfile
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.observers.observer import Judged, Observer
from flows.training.loop import call_plainly
from flows.training.session import Session
from stages.contract.declared_stages import EVALUATE, ROUND_STAGES
from stages.disk.root import store_root
from stages.params.record import Params
from stages.readings.metrics import finished_manifest
from stages.store.run import Run

_ROUNDS = 4  # the first loads models and warms up, and does not count


@dataclass(frozen=True)
class MeasuredRounds:
    """What was measured."""

    start_seconds: float
    """Until the first round was done, less a round."""
    round_seconds: float
    """A round, with all that watches it."""
    seconds_an_evaluation: float
    """A transformer evaluation of the judging, with its rewards."""
    output_bytes: dict[str, int]
    """Bytes of each output of a round."""
    peak_bytes: int
    """Most memory of a stage: of the device's own, or of the process on a CPU."""

    @property
    def round_bytes(self) -> int:
        """What a round writes."""
        return sum(self.output_bytes.values())


def try_out(params: Params) -> MeasuredRounds:
    """Run a few rounds, and judge a few prompts; what they have written is removed.

    Texts that are encoded for it stay in the store's cache.
    """
    few = min(params.evaluate.num_prompts, 2 * params.evaluate.micro_batch)
    short = {"run.rounds": _ROUNDS, "evaluate.every": 10 * _ROUNDS, "evaluate.num_prompts": few}
    with _elsewhere() as folder:
        apart = {"guards.time.action": "ignore", "tracking.uri": f"sqlite:///{folder / 'mlflow.db'}"}
        clock = _Clock()
        session = Session.of(params.with_values(short | apart), adopting=False)
        session.train(call_plainly, observers=[clock], final=False, obey=False)
        return clock.measured(session.run)


@contextlib.contextmanager
def _elsewhere() -> Generator[Path]:
    """Have the store in a temporary folder, on the same disk, with this one's caches; and nothing printed."""
    own = store_root().resolve()
    own.mkdir(parents=True, exist_ok=True)
    kept = os.environ.get("G2RPO_HOME")
    with tempfile.TemporaryDirectory(prefix="trial-", dir=own) as name:
        folder = Path(name)
        for cache in ("embeddings", "digests"):
            (own / cache).mkdir(exist_ok=True)
            (folder / cache).symlink_to(own / cache)
        os.environ["G2RPO_HOME"] = name
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                yield folder
        finally:
            if kept is None:
                del os.environ["G2RPO_HOME"]
            else:
                os.environ["G2RPO_HOME"] = kept


class _Clock(Observer):
    """Notes when each round and each judging was done."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._rounds = list[float]()
        self._judging = list[tuple[float, Path]]()
        self._stage_began = 0.0

    def stage_started(self, stage: str, number: int) -> None:
        """Note the time."""
        self._stage_began = time.perf_counter()

    def round_finished(self, number: int, metrics: Mapping[str, float]) -> None:
        """Note the time."""
        self._rounds.append(time.perf_counter())

    def evaluated(self, judged: Judged) -> None:
        """Note how long it took."""
        self._judging.append((time.perf_counter() - self._stage_began, judged.folder))

    def measured(self, run: Run) -> MeasuredRounds:
        """Return what was measured, the first round and the first judging left out."""
        a_round = (self._rounds[-1] - self._rounds[0]) / (len(self._rounds) - 1)
        judged, folder = self._judging[-1]
        last = run.round_folder(_ROUNDS - 1)
        manifests = [finished_manifest(last, stage) for stage in ROUND_STAGES]
        sizes = {name: out["bytes"] for manifest in manifests for name, out in manifest["outputs"].items()}
        return MeasuredRounds(
            start_seconds=max(0.0, self._rounds[0] - self._began - self._judging[0][0] - a_round),
            round_seconds=a_round,
            seconds_an_evaluation=judged / finished_manifest(folder, EVALUATE)["evaluations"],
            output_bytes=sizes,
            peak_bytes=max(manifest["peak_bytes"] for manifest in manifests),
        )
