"""The processes that take the optimizer steps of a round together, each over its share of the sites.

They are the ranks of torch.distributed's default process group: gloo between CPUs, NCCL between CUDA devices.
"""

from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, distributed

from g2rpo.types import Indices

Part = TypeVar("Part")


@dataclass(frozen=True)
class ProcessGroup:
    """This process among its peers. Example: `ProcessGroup(rank=1, size=4)` takes sites 1, 5, 9 and so on."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes what all have computed."""
        return self.rank == 0

    def own(self, sites: Indices) -> Indices:
        """Return this process's share: every `size`-th site, so that all processes share the sites measured first."""
        return sites[self.rank :: self.size]

    def gathered(self, own: list[Part]) -> list[Part]:
        """Return the parts of all processes, in the order of their ranks; each of them must call it."""
        if self.size == 1:
            return own
        everyone: list[list[Part]] = [[] for _ in range(self.size)]
        distributed.all_gather_object(everyone, own)
        return list(chain.from_iterable(everyone))

    def joined(self, own: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
        """Return all values; each process passes those that it has and NaN for the rest, together they have all."""
        if self.size == 1:
            return own
        known = torch.where(torch.isnan(own), -torch.inf, own)
        distributed.all_reduce(known, distributed.ReduceOp.MAX)
        return known

    def wait(self) -> None:
        """Wait until all processes call it."""
        if self.size > 1:
            distributed.barrier()


ALONE = ProcessGroup()
"""The only process."""
