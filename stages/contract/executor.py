"""Who does the work of stages: the loaded models of this process, or runners elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from stages.contract.declared_stages import Stage
from stages.contract.job import Job


@dataclass(frozen=True)
class Spent:
    """What a piece of work took."""

    cpu_seconds: float
    """Of all processes together."""
    peak_bytes: int
    """Most memory of one of them: of the device's own, or of the process on a CPU."""

    @classmethod
    def together(cls, parts: Sequence["Spent"]) -> "Spent":
        """Return what several processes took."""
        return cls(sum(part.cpu_seconds for part in parts), max((part.peak_bytes for part in parts), default=0))


class StageExecutor(Protocol):
    """Does stages. What it computes comes out the same whoever it is, up to the last bits."""

    @property
    def device(self) -> torch.device:
        """What stages are computed on."""
        ...

    def do(self, stage: Stage, job: Job) -> Spent:
        """Write the job's tables."""
        ...

    def encode(self, texts: Sequence[str]) -> int:
        """Keep the embeddings of texts that are not kept yet, and return how many there were."""
        ...

    def close(self) -> None:
        """Send home whoever works elsewhere."""
        ...
