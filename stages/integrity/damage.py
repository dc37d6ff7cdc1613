"""Damage that verify finds and repair removes, and the mark of a run that continues with damaged files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.contract.declared_stages import Stage
from stages.disk.files import write_sealed
from stages.disk.records import MarkRecord, read_record
from stages.readings.metrics import whole_evaluations
from stages.store.run import Run

_MARK = "damaged.json"


@dataclass(frozen=True)
class Damage:
    """A file that differs from what was written. Example: `rounds/0003/rewards/part-00001.parquet`, score, round 3."""

    path: Path
    what: str
    """What is required and what was found."""
    stage: Stage | None = None
    """The stage that makes it again; None if writing it anew or removing it is enough."""
    number: int = 0
    """Its round."""

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


def mark(run: Run, left: Sequence[Damage]) -> None:
    """Write to a run's `damaged.json` what stays damaged, for `g2rpo list`; remove the file if `left` is empty."""
    path = run.path / _MARK
    if left:
        write_sealed(path, {"files": [str(damage.path.relative_to(run.path)) for damage in left]})
    elif path.is_file():
        path.unlink()


def num_marked(run: Run) -> int:
    """Return the number of damaged files that a run's last start left, except evaluations made again since."""
    files = (read_record(run.path / _MARK, MarkRecord) or {"files": ()})["files"]
    whole = {run.evaluation_folder(*evaluation) for evaluation in whole_evaluations(run)} if files else set()
    return sum(whole.isdisjoint((run.path / file).parents) for file in files)
