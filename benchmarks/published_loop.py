"""The plan of an iteration, and the published loop: every call at batch 1, written here from its description."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from g2rpo.schedule import shifted_sigmas
from g2rpo.sde import flow_diffusion, log_prob, ode_step, sde_step
from g2rpo.strides import completion_path
from g2rpo.tree import evaluations_per_prompt

Velocity = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Plan:
    """The rollout of one prompt. Example: T = 16, steps 0..7, G = 12, granularities (1, 2, 3), as published."""

    num_steps: int
    steps: tuple[int, ...]
    group_size: int
    granularities: tuple[int, ...]
    shift: float = 3.0
    eta: float = 0.7

    @property
    def sigmas(self) -> Tensor:
        """The schedule, shape (num_steps + 1,)."""
        return shifted_sigmas(self.num_steps, self.shift)

    @property
    def pictures(self) -> int:
        """Pictures per prompt."""
        return len(self.steps) * self.group_size * len(self.granularities)

    @property
    def ours(self) -> int:
        """Velocities per prompt in the engine: 1820 in the example, 1544 and 1112 with fewer granularities."""
        return evaluations_per_prompt(self.num_steps, self.steps, self.group_size, self.granularities)

    @property
    def published(self) -> int:
        """Velocities per prompt in the published loop: 2188 in the example, 1792 and 1216.

        The anchor to its end; x_k again for each branch; each granularity by itself, by the published rule.
        """
        paths = [
            completion_path(self.num_steps, step + 1, granularity, "published")
            for step in self.steps
            for granularity in self.granularities
        ]
        each = len(self.steps) + sum(len(path) - 1 for path in paths)
        return self.num_steps + self.group_size * each


@torch.no_grad()
def published_loop(velocity: Velocity, start: Tensor, plan: Plan, *, dtype: torch.dtype) -> Iterator[Tensor]:
    """Do the rollout of one prompt, one call of the network at a time; yield the latents after each.

    Latents are kept in `dtype`, steps and log-probabilities are computed in fp32. A picture is the x0-prediction at the
    last evaluated level, which is an ODE step from there to 0.

    Args:
        velocity: The network, from latents (1, ...) and sigma (1,).
        start: Initial noise, shape (1, ...).
    """
    levels = plan.sigmas.to(start.device, torch.float32)

    def step_to(x: Tensor, at: int, to: int) -> Tensor:
        v = velocity(x.float(), levels[at : at + 1])
        return ode_step(x.float(), v, sigma=levels[at : at + 1], sigma_next=levels[to : to + 1]).to(dtype)

    anchor = [start.to(dtype)]
    for k in range(plan.num_steps):
        anchor.append(step_to(anchor[-1], k, k + 1))
        yield anchor[-1]
    for k, _ in itertools.product(plan.steps, range(plan.group_size)):
        sigma, x = levels[k : k + 1], anchor[k].float()
        diffusion = flow_diffusion(sigma, eta=plan.eta, sigma_max=float(levels[1]))
        v = velocity(x, sigma)
        law = sde_step(x, v, sigma=sigma, sigma_next=levels[k + 1 : k + 2], diffusion=diffusion)
        branched = law.sample(torch.randn_like(x)).to(dtype)
        log_prob(branched.float(), law)
        yield branched
        for granularity in plan.granularities:
            done = branched
            for at, to in itertools.pairwise(completion_path(plan.num_steps, k + 1, granularity, "published")):
                done = step_to(done, at, to)
                yield done
