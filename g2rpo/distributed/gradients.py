"""How the gradients of the processes of a process group come together: copies that are averaged, or weights in shares.

DDP keeps a whole copy on each (arXiv:2006.15704), FSDP2 a share of weights, gradient and moments on each
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


class Team:
    """Those that learn one policy together; by itself, one process that has nobody to wait for.

    Gradients are means over the processes: scale a loss by `process_group.size`.
    """

    def __init__(self, process_group: ProcessGroup = ALONE) -> None:
        self.process_group = process_group

    def velocity(self, policy: Policy, latents: Latents, sigma: Levels, condition: Condition) -> Latents:
        """Return the policy's velocity, such that its backward pass takes part in the team's mean."""
        return policy.velocity(latents, sigma, condition)

    def adding_up(self, *, last: bool) -> AbstractContextManager[None]:
        """Surround forward and backward of a micro-batch; the mean is taken after the last of a step at the latest."""
        return nullcontext()


class Replicated(Team):
    """Each process holds all weights; DDP takes the mean of the gradients of those that are trained."""

    def __init__(self, policy: Policy, process_group: ProcessGroup) -> None:
        super().__init__(process_group)
        self._replica = DistributedDataParallel(
            _Velocity(policy), init_sync=False, broadcast_buffers=False, gradient_as_bucket_view=True
        )

    def velocity(self, policy: Policy, latents: Latents, sigma: Levels, condition: Condition) -> Latents:
        """Return the velocity by the replica's forward."""
        return self._replica(latents, sigma, condition)

    def adding_up(self, *, last: bool) -> AbstractContextManager[None]:
        """Keep gradients to oneself until the last."""
        return nullcontext() if last else self._replica.no_sync()


class Sharded(Team):
    """Each process holds a share of the weights, of the gradient and of the optimizer's moments, in fp32.

    A block's weights are gathered when it is computed, in `dtype`, and let go after. The mean is taken after each
    micro-batch: a gradient that is kept to oneself until the last one is a whole one, in fp32.
    """

    def __init__(self, policy: Policy, process_group: ProcessGroup, dtype: torch.dtype) -> None:
        super().__init__(process_group)
        shard(policy.module, dtype)


def shard(module: Any, dtype: torch.dtype) -> None:
    """Spread the weights of a transformer of diffusers over the process group, block by block; done in place.

    What lies outside the blocks is let go after a forward too, or a trainer that is made between a forward and its
    backward would find it whole.
    """
    lowered = None if dtype is torch.float32 else dtype
    precision = MixedPrecisionPolicy(param_dtype=lowered, reduce_dtype=torch.float32, cast_forward_inputs=False)
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
        self._of = (policy,)  # in a tuple: a policy is no submodule

    def forward(self, latents: Latents, sigma: Levels, condition: Condition) -> Latents:
        return self._of[0].velocity(latents, sigma, condition)
