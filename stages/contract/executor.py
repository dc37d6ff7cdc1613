"""Executors of stages: the loaded models of this process, or runners."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from stages.contract.declared_stages import Stage
from stages.contract.job import Job


@dataclass(frozen=True)
class Usage:
    """CPU time and peak memory of a piece of work."""

    cpu_seconds: float
    """Sum over all processes."""
    peak_bytes: int
    """Largest peak memory of one process: of its GPU, or of the process itself on a CPU."""

    @classmethod
    def together(cls, parts: Sequence["Usage"]) -> "Usage":
        """Return the sum of CPU seconds and the largest peak of several processes."""
        return cls(sum(part.cpu_seconds for part in parts), max((part.peak_bytes for part in parts), default=0))


class StageExecutor(Protocol):
    """Executes stages. All executors compute the same results, up to the last bits."""

    @property
    def device(self) -> torch.device:
        """Device of the computation."""
        ...

    def do(self, stage: Stage, job: Job) -> Usage:
        """Write the job's tables."""
        ...

    def encode(self, texts: Sequence[str]) -> int:
        """Encode the texts that the cache of embeddings does not have, and return their number."""
        ...

    def close(self) -> None:
        """End the executor's other processes."""
        ...
