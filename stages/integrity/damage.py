"""What verify finds and repair mends, and the mark of a run that goes on with some of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.contract.declared_stages import Stage
from stages.disk.files import read_sealed, write_sealed
from stages.readings.metrics import whole_evaluations
from stages.store.run import Run

_MARK = "damaged.json"


@dataclass(frozen=True)
class Damage:
    """A file that is not what it was. Example: `.../rounds/0003/rewards/part-00001.parquet`, of score, round 3."""

    path: Path
    what: str
    """What is required, and what was found."""
    stage: Stage | None = None
    """The stage that makes it again; None where it is enough to write it anew, or to remove it."""
    number: int = 0
    """Its round."""

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


def mark(run: Run, left: Sequence[Damage]) -> None:
    """Note in a run's `damaged.json` what stays damaged, for `g2rpo list`; nothing left removes the file."""
    path = run.path / _MARK
    if left:
        write_sealed(path, {"files": [str(damage.path.relative_to(run.path)) for damage in left]})
    elif path.is_file():
        path.unlink()


def num_marked(run: Run) -> int:
    """Return the number of damaged files that the last start of a run has left, less evaluations made again since."""
    files = (read_sealed(run.path / _MARK) or {"files": ()})["files"]
    whole = {run.evaluation_folder(*one) for one in whole_evaluations(run)} if files else set()
    return sum(whole.isdisjoint((run.path / file).parents) for file in files)
