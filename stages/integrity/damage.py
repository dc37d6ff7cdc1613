"""What verify finds and repair mends."""

from dataclasses import dataclass
from pathlib import Path

from stages.contract.declared_stages import Stage


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
