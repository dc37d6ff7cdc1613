"""What of a plan lies in the store: which runs are whole, found without loading a model, and what is told of them."""

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
from stages.store.manifest import all_there, read_manifest
from stages.store.run import Run, run_of


@dataclass(frozen=True)
class Placed:
    """A cell and its place in the store. Example: run `.g2rpo/runs/3fa9c1d20b7e4488`, split "test"."""

    cell: Cell
    run: Run
    split: str
    """Of the final figures."""

    @classmethod
    def of(cls, cell: Cell, split: str, *, device: str) -> "Placed":
        """Return where the run of a cell lies, or will lie, by its fingerprint.

        Raises:
            ValueError: If base weights, rewards or prompts cannot be had.
        """
        return cls(cell, run_of(Fingerprint.of(cell.params, device)), split)

    @property
    def key(self) -> str:
        """The run's key, there or not."""
        return self.run.path.name

    @cached_property
    def by(self) -> Params:
        """The parameters of the final evaluation."""
        return final_params(self.cell.params, self.split)

    @property
    def judged(self) -> Path:
        """Where the final evaluation of the last policy lies."""
        return self.run.evaluation_folder(self.cell.params.run.rounds, self.split)

    @cached_property
    def base(self) -> Path:
        """Where the base's evaluation by the same parameters lies, once for all runs that share it."""
        return base_folder(self.by)

    def log(self, plan: str) -> Path:
        """Return the file of what the run says while it goes on."""
        return store_root() / "compare" / slug(plan) / f"{self.cell.slug}-{self.key}.log"


@dataclass(frozen=True)
class Measured:
    """A whole run, as far as a report tells of it."""

    placed: Placed
    rounds: list[dict[str, float]]
    """Metrics of the rounds that the budget pays for."""
    scores: Rows
    """On evaluate.split as training went on, policy_round 0 the base, and the final ones. A row is the mean of a
    reward over an evaluation's prompts, as policy_round 10, split "tuning", num_steps 8, reward "rule_strict",
    value .61, prompts 64."""
    base: Rows
    """Of the base on the final split."""
    links: dict[str, str]
    """The ids of its last session, as `git_commit`, `machine`."""


def base_folder(by: Params) -> Path:
    """Return the folder of the store in which the base's evaluation by these parameters lies.

    It is named by all that the pictures and their scores come from.
    """
    origins = {"policy": policy_digest(by)} | stage_origins(EVALUATE, by)
    found = {"parameters": EVALUATE.parameters(by, 0), "origins": origins, "algorithm_version": ALGORITHM_VERSION}
    return store_root() / "bases" / value_digest(found | {"device": run_device(by).type})[:16]


def is_judged(folder: Path) -> bool:
    """Whether a folder, named by what it comes from, holds a whole evaluation, every file as it was written."""
    manifest = read_manifest(folder, EVALUATE)
    if manifest is None or not all_there(manifest, folder):
        return False
    files = {
        folder / name / file: digest
        for name, out in manifest["outputs"].items()
        for file, digest in out["files"].items()
    }
    return all(file_digest(path) == digest for path, digest in files.items())


def measured(placed: Placed) -> Measured | None:
    """Return what is told of a run that has come to its end and has been judged; None while something lacks.

    A file that is damaged lacks: the run mends it when it goes on.
    """
    params, run = placed.cell.params, placed.run
    last = params.run.rounds
    try:
        if not run.path.is_dir() or run.num_finished < last or not is_judged(placed.base):
            return None
        due = [number for number in range(last + 1) if number % params.evaluate.every == 0 or number == last]
        there = [number for number in due if is_done(run, EVALUATE, number, params)]
        if any(not missing_files(run.policy_folder(number)) for number in due if number not in there):
            return None  # they are judged when the run goes on; of the others the policy was let go
        if last not in there or not is_done(run, EVALUATE, last, placed.by) or not is_judged(placed.judged):
            return None
        split = params.evaluate.split
        scores = [row for number in there for row in _scores(number, split, run.evaluation_folder(number, split))]
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
    """Yield the rewards that a run is trained on, those of weight 0 left out."""
    weights: dict[str, Any] = dict(placed.cell.params.integrate.reward_weights)
    yield from (name for name in placed.cell.params.score.rewards if weights.get(name, 1.0))
