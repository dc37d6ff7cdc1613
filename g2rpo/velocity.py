"""The policy's velocity in micro-batches, with every transformer evaluation counted where it happens."""

from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch

from g2rpo.distributed.gradients import GradientSync
from g2rpo.policies.protocol import Condition, Policy
from g2rpo.types import Index, Latents, Levels


@dataclass
class VelocityField:
    """Evaluates one policy; `evaluations` counts rows sent through it: a forward is 1, with its backward 3.

    With classifier-free guidance a velocity is two rows.

    Example: 100 rows at `micro_batch=32` are four calls of the network and 100 evaluations.
    """

    policy: Policy
    micro_batch: int
    """Rows per call, at least 1; more is faster while memory lasts. It changes the last bits of fp32 results."""
    dtype: torch.dtype = torch.float32
    """Dtype of the computation; below fp32 by autocast, with weights and results kept in fp32."""
    base: bool = False
    """Whether to evaluate the base model: the policy's network with its adapter switched off."""
    team: GradientSync = field(default_factory=GradientSync)
    """The processes that train the policy together; calls without gradient are each process's own."""
    evaluations: int = 0

    def __post_init__(self) -> None:
        """Refuse a micro-batch of less than 1 row."""
        if self.micro_batch < 1:
            raise ValueError(f"A micro-batch holds at least 1 row, got {self.micro_batch}. Raise micro_batch.")

    def __call__(self, latents: Latents, sigma: Levels, condition: Condition, rows: Index) -> Latents:
        """Return the velocity of each row, without gradient, in calls of at most `micro_batch` rows.

        Args:
            rows: The row of `condition` that belongs to each row of the latents.
        """
        velocity = torch.empty_like(latents)
        with torch.no_grad():
            for start in range(0, len(latents), self.micro_batch):
                part = slice(start, start + self.micro_batch)
                velocity[part] = self._call(latents[part], sigma[part], condition.take(rows[part]))
        self.evaluations += len(latents) * self.policy.num_forwards
        return velocity

    def with_gradient(self, latents: Latents, sigma: Levels, condition: Condition) -> Latents:
        """Return the velocity of one micro-batch, with gradient; the caller runs the backward pass."""
        self.evaluations += 3 * len(latents) * self.policy.num_forwards
        with self._mode():
            return self.team.velocity(self.policy, latents, sigma, condition).float()

    def as_in_update(self, latents: Latents, sigma: Levels, condition: Condition) -> Latents:
        """Return the values of `with_gradient`, by the same operations, without gradient.

        Compiled code gives other last bits when grad mode is off.
        """
        self.evaluations += len(latents) * self.policy.num_forwards
        with torch.enable_grad():
            return self._call(latents, sigma, condition).detach()

    def _call(self, latents: Latents, sigma: Levels, condition: Condition) -> Latents:
        with self._mode():
            return self.policy.velocity(latents, sigma, condition).float()

    @contextmanager
    def _mode(self) -> Generator[None]:
        """Compute in `dtype`; for the base, with the adapter switched off."""
        autocast = torch.autocast(self.policy.device.type, dtype=self.dtype, enabled=self.dtype is not torch.float32)
        with self.policy.without_adapter() if self.base else nullcontext(), autocast:
            yield
