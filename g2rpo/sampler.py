"""Anchor, branching and lockstep completion: the rollout of G²RPO on tensors.

All live rows of a shard advance together: one batch over (prompt, window, branch, granularity) in which each
row has its own sigma. Source of the method: G²RPO, arXiv:2510.01982; the sharing of nodes is ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from g2rpo.policies.protocol import Condition
from g2rpo.schedule import StrideRule
from g2rpo.sde import Transition, flow_diffusion, log_prob, ode_step, sde_step
from g2rpo.tree import completion_tree, lockstep, on_device
from g2rpo.types import Index, Latents, Levels
from g2rpo.velocity import VelocityField


@dataclass(frozen=True)
class Anchor:
    """Where the ODE passed: latents and velocity at each visited step, both of shape (steps, prompts, ...).

    Example: for 8 prompts of the shapes world followed to step 3, both have shape (4, 8, 16, 48).
    """

    latents: Tensor
    velocity: Tensor


def anchor_trajectory(
    field: VelocityField, start: Latents, condition: Condition, *, sigmas: Tensor, num_visited: int
) -> Anchor:
    """Return the deterministic trajectory from the initial noise, at its first `num_visited` steps.

    Args:
        start: Initial noise, a row a prompt.
        sigmas: The schedule, shape (T + 1,), falling from 1 to 0.
        num_visited: Steps to evaluate, in [1, T].
    """
    every_row = torch.arange(len(start), device=start.device)
    latents, velocities = [start], []
    for step in range(num_visited):
        sigma, sigma_next = (sigmas[step + i].to(start).expand(len(start)) for i in (0, 1))
        velocities.append(field(latents[-1], sigma, condition, every_row))
        latents.append(ode_step(latents[-1], velocities[-1], sigma=sigma, sigma_next=sigma_next))
    return Anchor(latents=torch.stack(latents[:-1]), velocity=torch.stack(velocities))


@dataclass(frozen=True)
class Branched:
    """One stochastic step a row: where it led, shape (b, ...), and its log-probability then, shape (b,)."""

    next_latents: Latents
    log_prob: Levels


def branch_transition(latents: Latents, velocity: Latents, *, step: Index, sigmas: Tensor, eta: float) -> Transition:
    """Return the law of one flow SDE step from each row's latents at its own step of the schedule."""
    levels = sigmas.to(latents)
    sigma = levels[step]
    diffusion = flow_diffusion(sigma, eta=eta, sigma_max=float(levels[1]))
    return sde_step(latents, velocity, sigma=sigma, sigma_next=levels[step + 1], diffusion=diffusion)


def branch(latents: Latents, velocity: Latents, eps: Latents, *, step: Index, sigmas: Tensor, eta: float) -> Branched:
    """Take one stochastic step a row from the anchor, with the velocity that the anchor already paid for.

    Args:
        latents: x_k of the anchor, repeated for each branch of a group.
        velocity: v_k of the anchor, likewise.
        eps: Standard normal noise, one row a branch.
        step: k of each row.
    """
    transition = branch_transition(latents, velocity, step=step, sigmas=sigmas, eta=eta)
    next_latents = transition.sample(eps)
    return Branched(next_latents=next_latents, log_prob=log_prob(next_latents, transition))


@dataclass(frozen=True)
class Completed:
    """Finished branches: clean latents and the evaluations that each was charged.

    Example: 384 branches of the shapes world and granularities (1, 2) give latents (384, 2, 16, 48).
    """

    latents: Tensor
    """Shape (b, granularities, ...)."""
    evaluations: Tensor
    """int64, shape (b, granularities); a shared node is charged to the first granularity that visits it."""


def complete(
    field: VelocityField,
    latents: Latents,
    condition: Condition,
    *,
    rows: Index,
    starts: Sequence[int],
    sigmas: Tensor,
    granularities: Sequence[int],
    rule: StrideRule,
) -> Completed:
    """Finish every branch by the ODE once per granularity, all of them in lockstep.

    Each depth of the trees is one batch: branches that left the anchor at different steps stand at different
    levels in it. So there are at most T batches, whatever the number of branches.

    Args:
        latents: x_{k+1} of each branch.
        rows: The row of `condition` that belongs to each branch.
        starts: k + 1 of each branch.
        sigmas: The schedule, shape (T + 1,).
    """
    num_steps = len(sigmas) - 1
    levels = sigmas.to(latents)
    trees = {start: completion_tree(num_steps, start, granularities, rule) for start in set(starts)}
    fronts = [on_device(front, latents.device) for front in lockstep([trees[start] for start in starts])]
    finished = latents.new_empty((len(latents), len(granularities), *latents.shape[1:]))
    charged = torch.zeros((len(latents), len(granularities)), dtype=torch.int64, device=latents.device)
    here, velocity = latents, torch.empty_like(latents)
    for before, front in zip([fronts[0], *fronts], fronts, strict=False):
        if front is not before:
            sigma, sigma_next = levels[before.level[front.parent]], levels[front.level]
            here = ode_step(here[front.parent], velocity[front.parent], sigma=sigma, sigma_next=sigma_next)
        finished[front.branch[front.end_row], front.end_granularity] = here[front.end_row]
        live = torch.nonzero(front.level < num_steps).flatten()
        owner = front.branch[live]
        velocity = torch.empty_like(here)
        velocity[live] = field(here[live], levels[front.level[live]], condition, rows[owner])
        charged[owner, front.payer[live]] += field.policy.num_forwards
    return Completed(latents=finished, evaluations=charged)
