"""Runs of a plan in the store: which are complete, without loading a model, and their data for the report."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from flows.common.rows import Rows
from flows.compare.cells import Cell, final_params
from flows.compare.plan import slug
from stages.contract.declared_stages import EVALUATE
from stages.disk.files import file_digest, value_digest
from stages.disk.policy_state import missing_files
from stages.disk.root import store_root
from stages.disk.tables import read_table
from stages.engine.execute import is_done
from stages.params.record import Params
from stages.sources.base_model import policy_digest
from stages.sources.device import run_device
from stages.store.fingerprint import ALGORITHM_VERSION, Fingerprint
from stages.store.input_digests import stage_origins
from stages.store.manifest import is_complete, read_manifest
from stages.store.run import Run, run_of
from stages.store.run_files import require_no_links


@dataclass(frozen=True)
class Placed:
    """A cell and its place in the store. Example: run `.g2rpo/runs/3fa9c1d20b7e4488`, split "test"."""

    cell: Cell
    run: Run
    split: str
    """The split of the final figures."""

    @classmethod
    def of(cls, cell: Cell, split: str, *, device: str) -> "Placed":
        """Return a cell with the folder of its run, which need not exist, by its fingerprint.

        Raises:
            ValueError: If base weights, rewards or prompts are not available.
        """
        return cls(cell, run_of(Fingerprint.of(cell.params, device)), split)

    @property
    def key(self) -> str:
        """The run's key, whether the run exists or not."""
        return self.run.path.name

    @cached_property
    def by(self) -> Params:
        """The parameters of the final evaluation."""
        return final_params(self.cell.params, self.split)

    @property
    def judged(self) -> Path:
        """Folder of the final evaluation of the last policy."""
        return self.run.evaluation_folder(self.cell.params.run.rounds, self.split)

    @cached_property
    def base(self) -> Path:
        """Folder of the base's evaluation by the same parameters, which runs share."""
        return base_folder(self.by)

    def log(self, plan: str) -> Path:
        """Return the log file of the run."""
        return store_root() / "compare" / slug(plan) / f"{self.cell.slug}-{self.key}.log"


@dataclass(frozen=True)
class Measured:
    """The data of a complete run for the report."""

    placed: Placed
    rounds: list[dict[str, float]]
    """Metrics of the rounds within the budget."""
    scores: Rows
    """Evaluations on evaluate.split during training, the base as policy_round 0, and the final one. A row is the mean
    of a reward over an evaluation's prompts, e.g. policy_round 10, split "tuning", num_steps 8, reward
    "rule_strict", value .61, prompts 64."""
    base: Rows
    """Evaluation of the base on the final split."""
    links: dict[str, str]
    """The ids of its last session, e.g. `git_commit`, `machine`."""


def base_folder(by: Params) -> Path:
    """Return the folder in the store of the base's evaluation by these parameters.

    Its name is a digest of all that determines the pictures and their scores.
    """
    origins = {"policy": policy_digest(by)} | stage_origins(EVALUATE, by)
    inputs = {"parameters": EVALUATE.parameters(by, 0), "origins": origins, "algorithm_version": ALGORITHM_VERSION}
    return store_root() / "bases" / value_digest(inputs | {"device": run_device(by).type})[:16]


def is_evaluated(folder: Path) -> bool:
    """Whether a folder holds a complete evaluation, with every file as it was written."""
    manifest = read_manifest(folder, EVALUATE)
    if manifest is None or not is_complete(manifest, folder):
        return False
    files = {
        folder / name / file: digest
        for name, out in manifest["outputs"].items()
        for file, digest in out["files"].items()
    }
    return all(file_digest(path) == digest for path, digest in files.items())


def measured(placed: Placed) -> Measured | None:
    """Return the data of a finished and evaluated run; None if something is missing.

    A damaged file counts as missing: the run repairs it when it continues.
    """
    params, run = placed.cell.params, placed.run
    last = params.run.rounds
    try:
        if not run.path.is_dir() or run.num_finished < last or not is_evaluated(placed.base):
            return None
        require_no_links(run.path)
        due = [number for number in range(last + 1) if number % params.evaluate.every == 0 or number == last]
        done = [number for number in due if is_done(run, EVALUATE, number, params)]
        if any(not missing_files(run.policy_folder(number)) for number in due if number not in done):
            return None  # the run evaluates them when it continues; the policies of the others are pruned
        if last not in done or not is_done(run, EVALUATE, last, placed.by) or not is_evaluated(placed.judged):
            return None
        split = params.evaluate.split
        scores = [row for number in done for row in _scores(number, split, run.evaluation_folder(number, split))]
        if placed.split != split:
            scores += _scores(last, placed.split, placed.judged)
        return Measured(placed, run.metrics()[:last], scores, _scores(0, placed.split, placed.base), run.links)
    except ValueError:
        return None


def _scores(policy_round: int, split: str, folder: Path) -> Rows:
    table = read_table(folder / "evaluations").select(["num_steps", "reward", "value"]).to_pandas()
    groups = table.groupby(["num_steps", "reward"], sort=False, as_index=False)
    means: Rows = groups.agg(value=("value", "mean"), prompts=("value", "size")).to_dict("records")
    return [{"policy_round": policy_round, "split": split} | row for row in means]


def trained_on(placed: Placed) -> Iterator[str]:
    """Yield the rewards that a run is trained on, without those of weight 0."""
    weights: dict[str, Any] = dict(placed.cell.params.integrate.reward_weights)
    yield from (name for name in placed.cell.params.score.rewards if weights.get(name, 1.0))
