"""Anchor, stochastic windows and lockstep completion: a round's trajectories on tensors.

All live rows of a shard advance together: one batch over (prompt, window, branch, granularity) in which each
row has its own sigma. Source of the method: G²RPO, arXiv:2510.01982; the sharing of nodes is ours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from g2rpo.policies.protocol import Condition
from g2rpo.sde import SDE, Transition, log_prob, ode_step, transition
from g2rpo.strides import StrideRule
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
        start: Initial noise, one row per prompt.
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
    """One stochastic step per row: the next latents, shape (b, ...), and their log-probability, shape (b,)."""

    next_latents: Latents
    log_prob: Levels


def branch_transition(
    latents: Latents, velocity: Latents, *, step: Index, sigmas: Tensor, sde: SDE, eta: float
) -> Transition:
    """Return the law of one stochastic step from each row's latents at its own step of the schedule."""
    levels = sigmas.to(latents)
    after = levels[step + 1]
    return transition(sde, latents, velocity, sigma=levels[step], sigma_next=after, eta=eta, sigma_max=float(levels[1]))


def branch(
    latents: Latents, velocity: Latents, eps: Latents, *, step: Index, sigmas: Tensor, sde: SDE, eta: float
) -> Branched:
    """Take one stochastic step per row, with a velocity that is already evaluated.

    Args:
        latents: x_k of the anchor, repeated for each branch of a group.
        velocity: v_k of the anchor, likewise.
        eps: Standard normal noise, one row per branch.
        step: k of each row.
        sigmas: The schedule, shape (T + 1,).
        sde: Kind of the step.
        eta: Its noise scale.
    """
    law = branch_transition(latents, velocity, step=step, sigmas=sigmas, sde=sde, eta=eta)
    next_latents = law.sample(eps)
    return Branched(next_latents=next_latents, log_prob=log_prob(next_latents, law))


@dataclass(frozen=True)
class Walked:
    """The stochastic steps of many branches, one row per step, in the order in which they are taken.

    Example: two branches of the window (0, 1): branch (0, 1, 0, 1), step (0, 0, 1, 1).
    """

    branch: Index
    """Row of the branch in the arguments of `walk`."""
    step: Index
    latents: Tensor
    """x_k, from which the step starts, shape (rows, ...)."""
    velocity: Tensor
    """v_k there."""
    next_latents: Tensor
    """x_{k+1}."""
    log_prob: Tensor
    """Shape (rows,)."""


def walk(
    field: VelocityField,
    start: Latents,
    velocity: Tensor | None,
    condition: Condition,
    *,
    rows: Index,
    begin: Sequence[int],
    windows: Sequence[Sequence[int]],
    draw: Callable[[list[int], list[int]], Latents],
    sigmas: Tensor,
    sde: SDE,
    eta: float,
) -> Walked:
    """Advance every branch from its start to the end of its window: stochastic steps in the window, the ODE elsewhere.

    All branches advance together, one step of each per batch.

    Args:
        field: The policy.
        start: Latents of each branch at its step `begin`.
        velocity: Velocity there, if it is already evaluated, else None.
        condition: Condition of the pictures.
        rows: The row of `condition` that belongs to each branch.
        begin: Step at which each branch starts; at most the first of its window.
        windows: Stochastic steps of each branch, ascending.
        draw: Returns standard normal noise for branches at steps, on the device of the latents.
        sigmas: The schedule, shape (T + 1,).
        sde: Kind of the step.
        eta: Its noise scale.
    """
    levels, taken = sigmas.to(start), list[Walked]()
    ends = [window[-1] for window in windows]
    current, device = start, start.device
    for depth in range(max(end - first for first, end in zip(begin, ends, strict=True)) + 1):
        live = [b for b, (first, end) in enumerate(zip(begin, ends, strict=True)) if first + depth <= end]
        steps = [begin[b] + depth for b in live]
        at, step = torch.tensor(live, device=device), torch.tensor(steps, device=device)
        latents = current[at]
        known = None if velocity is None or depth else velocity[at]
        velocities = field(latents, levels[step], condition, rows[at]) if known is None else known
        noisy = [place for place, b in enumerate(live) if steps[place] in windows[b]]
        stochastic = torch.tensor(noisy, dtype=torch.int64, device=device)
        after = ode_step(latents, velocities, sigma=levels[step], sigma_next=levels[step + 1])
        if noisy:
            leaving = (latents[stochastic], velocities[stochastic])
            eps = draw([live[place] for place in noisy], [steps[place] for place in noisy])
            branched = branch(*leaving, eps, step=step[stochastic], sigmas=sigmas, sde=sde, eta=eta)
            after[stochastic] = branched.next_latents
            taken.append(Walked(at[stochastic], step[stochastic], *leaving, branched.next_latents, branched.log_prob))
        current = current.clone()
        current[at] = after
    return Walked(*(torch.cat(column) for column in zip(*(vars(part).values() for part in taken), strict=True)))


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
    current, velocity = latents, torch.empty_like(latents)
    for before, front in zip([fronts[0], *fronts], fronts, strict=False):
        if front is not before:
            sigma, sigma_next = levels[before.level[front.parent]], levels[front.level]
            current = ode_step(current[front.parent], velocity[front.parent], sigma=sigma, sigma_next=sigma_next)
        finished[front.branch[front.end_row], front.end_granularity] = current[front.end_row]
        live = torch.nonzero(front.level < num_steps).flatten()
        owner = front.branch[live]
        velocity = torch.empty_like(current)
        velocity[live] = field(current[live], levels[front.level[live]], condition, rows[owner])
        charged[owner, front.payer[live]] += field.policy.num_forwards
    return Completed(latents=finished, evaluations=charged)
