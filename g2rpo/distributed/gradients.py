"""How the processes of a process group combine their gradients: whole copies of the weights, or shards.

DDP keeps a whole copy on each (arXiv:2006.15704), FSDP2 a shard of weights, gradient and moments on each
(arXiv:2304.11277, in the form of torch's `fully_shard`).
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from g2rpo.distributed.group import ALONE, ProcessGroup
from g2rpo.policies.protocol import Condition, Policy
from g2rpo.types import Latents, Levels


class GradientSync:
    """The processes that train one policy together; this class itself is for a single process.

    Gradients are means over the processes: scale a loss by `process_group.size`.
    """

    def __init__(self, process_group: ProcessGroup = ALONE) -> None:
        self.process_group = process_group

    def velocity(self, policy: Policy, latents: Latents, sigma: Levels, condition: Condition) -> Latents:
        """Return the policy's velocity, such that its backward pass averages gradients over the processes."""
        return policy.velocity(latents, sigma, condition)

    def adding_up(self, *, last: bool) -> AbstractContextManager[None]:
        """Surround forward and backward of a micro-batch; the last one of a step averages gradients at the latest."""
        return nullcontext()


class Replicated(GradientSync):
    """Each process holds all weights; DDP averages the gradients of those that are trained."""

    def __init__(self, policy: Policy, process_group: ProcessGroup) -> None:
        super().__init__(process_group)
        self._replica = DistributedDataParallel(
            _Velocity(policy), init_sync=False, broadcast_buffers=False, gradient_as_bucket_view=True
        )

    def velocity(self, policy: Policy, latents: Latents, sigma: Levels, condition: Condition) -> Latents:
        """Return the velocity by the replica's forward."""
        return self._replica(latents, sigma, condition)

    def adding_up(self, *, last: bool) -> AbstractContextManager[None]:
        """Keep gradients local until the last micro-batch."""
        return nullcontext() if last else self._replica.no_sync()


class Sharded(GradientSync):
    """Each process holds a shard of the weights, of the gradient and of the optimizer's moments, in fp32.

    A block's weights are gathered when it is computed, in `dtype`, and freed after. Gradients are averaged after each
    micro-batch: one that is kept local until the last would be a whole one, in fp32.
    """

    def __init__(self, policy: Policy, process_group: ProcessGroup, dtype: torch.dtype) -> None:
        super().__init__(process_group)
        shard(policy.module, dtype)


def shard(module: Any, dtype: torch.dtype) -> None:
    """Shard the weights of a transformer of diffusers over the process group, block by block, in place.

    Weights outside the blocks are sharded again after a forward too; otherwise a trainer that is made between a
    forward and its backward would get them whole.
    """
    param_dtype = None if dtype is torch.float32 else dtype
    precision = MixedPrecisionPolicy(param_dtype=param_dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    parts: list[torch.nn.Module] = list(module.modules())
    for part in parts:
        if type(part).__name__ in (module._no_split_modules or ()):  # noqa: SLF001
            fully_shard(part, mp_policy=precision)
    fully_shard(module, mp_policy=precision, reshard_after_forward=True)


class _Velocity(torch.nn.Module):
    """A policy's velocity as the forward of a module, which is what DDP watches."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.network = policy.module
        self._policy = (policy,)  # in a tuple: a policy is no submodule

    def forward(self, latents: Latents, sigma: Levels, condition: Condition) -> Latents:
        return self._policy[0].velocity(latents, sigma, condition)
