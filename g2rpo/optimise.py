"""The policy update of one round: fix the old log-probabilities, then take the optimizer steps.

A site is a place where branches leave shared latents: one (prompt, step). One forward there gives the mean of
the transition for the whole group. Source: G²RPO, arXiv:2510.01982; PPO, arXiv:1707.06347.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from g2rpo.losses import clipped_surrogate
from g2rpo.policies.protocol import Condition
from g2rpo.sampler import branch_transition
from g2rpo.sde import Transition, log_prob, transition_kl
from g2rpo.trainer import Trainer
from g2rpo.types import Index, Latents
from g2rpo.velocity import VelocityField

Cadence = Literal["iteration", "step"]

_FIRST_RATIO_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Sites:
    """What a round learns from: n sites, each with the g branches that left it.

    Example: 8 prompts, steps 0..3 and group size 12 are n = 32 sites with g = 12 branches each.
    """

    latents: Latents
    """x_k, shape (n, ...)."""
    step: Index
    """k, shape (n,)."""
    rows: Index
    """Row of `condition`, shape (n,)."""
    condition: Condition
    next_latents: Tensor
    """x_{k+1} of each branch, shape (n, g, ...)."""
    advantage: Tensor
    """Shape (n, g)."""

    def take(self, chosen: Index) -> "Sites":
        """Return the chosen sites, in that order."""
        return Sites(
            latents=self.latents[chosen],
            step=self.step[chosen],
            rows=self.rows[chosen],
            condition=self.condition,
            next_latents=self.next_latents[chosen],
            advantage=self.advantage[chosen],
        )


@dataclass(frozen=True)
class UpdateRule:
    """How a round is turned into optimizer steps."""

    sigmas: Tensor
    eta: float
    clip_range: float
    kl_weight: float
    """beta; 0 as in the paper. KL(policy || base) per transition, mean over elements."""
    cadence: Cadence
    """`iteration`: one step a pass, loss averaged over all sites (the sum over k divided by |M|).
    `step`: one step for each k, ascending, its loss undivided. The authors' code has had both."""
    num_epochs: int
    """Passes over the round, at least 1. From the second step on, ratios leave 1 and the clip acts."""
    micro_batch: int
    """Sites a forward and backward."""


@dataclass(frozen=True)
class StepReport:
    """What one optimizer step saw; the ratios are those before it.

    Example: the first step of a round reports ratio_mean = ratio_min = ratio_max = 1 and clip_frac = 0.
    """

    loss: float
    ratio_mean: float
    ratio_min: float
    ratio_max: float
    clip_frac: float
    kl: float
    """KL(policy || base), mean over sites, in nats per latent element."""
    grad_norm: float


def _group_log_prob(transition: Transition, next_latents: Tensor) -> Tensor:
    """Return log-probabilities, shape (n, g), of the branches under the one transition of each site."""
    num_branches = next_latents.shape[1]
    each = Transition(
        mean=transition.mean.repeat_interleave(num_branches, dim=0),
        std=transition.std.repeat_interleave(num_branches, dim=0),
    )
    return log_prob(next_latents.flatten(0, 1), each).unflatten(0, (-1, num_branches))


def _chunks(sites: Sites, rule: UpdateRule) -> list[list[Tensor]]:
    """Return, for each optimizer step of a pass, the site indices of its micro-batches."""
    everything = torch.arange(len(sites.step), device=sites.step.device)
    if rule.cadence == "iteration":
        parts = [everything]
    else:
        parts = [everything[sites.step == step] for step in sites.step.unique()]
    return [list(part.split(rule.micro_batch)) for part in parts]


def old_log_probs(field: VelocityField, sites: Sites, rule: UpdateRule) -> Tensor:
    """Return the log-probabilities, shape (n, g), of the branches under the policy as it is now.

    They are computed in the very micro-batches of the update, so that its first ratio is 1. Call it before
    the first step and hold its result fixed for the round.
    """
    fixed = sites.advantage.new_empty(sites.advantage.shape)
    for chosen in (c for step in _chunks(sites, rule) for c in step):
        part = sites.take(chosen)
        velocity = field.as_in_update(part.latents, _sigma(part, rule), part.condition.take(part.rows))
        fixed[chosen] = _group_log_prob(_transition(part, velocity, rule), part.next_latents)
    return fixed


def optimise(
    field: VelocityField,
    base: VelocityField,
    trainer: Trainer,
    *,
    sites: Sites,
    log_prob_old: Tensor,
    rule: UpdateRule,
) -> Iterator[StepReport]:
    """Take the optimizer steps of one round, yielding a report after each.

    The loss of a step is the clipped surrogate plus `kl_weight` KL(policy || base), each the mean over the
    step's sites and branches.

    Raises:
        AssertionError: If the first ratio is not 1: the old log-probabilities are not this policy's.
    """
    steps = [step for _ in range(rule.num_epochs) for step in _chunks(sites, rule)]
    for number, chunks in enumerate(steps):
        num_sites = sum(map(len, chunks))
        seen = [_backward(field, base, sites.take(c), log_prob_old[c], rule, share=len(c) / num_sites) for c in chunks]
        ratio = torch.cat([part.ratio for part in seen])
        if number == 0:
            gap = float((ratio - 1).abs().max())
            assert gap <= _FIRST_RATIO_TOLERANCE, f"The first ratio of a round must be 1, it is off by {gap}."
        yield StepReport(
            loss=sum(part.loss for part in seen),
            ratio_mean=float(ratio.mean()),
            ratio_min=float(ratio.min()),
            ratio_max=float(ratio.max()),
            clip_frac=float(torch.cat([part.clipped for part in seen]).float().mean()),
            kl=sum(part.kl for part in seen),
            grad_norm=trainer.step(),
        )


@dataclass(frozen=True)
class _Part:
    """What one micro-batch contributed to a step; `loss` and `kl` weighted by its share of the sites."""

    loss: float
    kl: float
    ratio: Tensor
    clipped: Tensor


def _backward(
    field: VelocityField, base: VelocityField, part: Sites, old: Tensor, rule: UpdateRule, *, share: float
) -> _Part:
    """Go forward and backward through one micro-batch, accumulating the gradient of its share of the loss."""
    sigma = _sigma(part, rule)
    velocity = field.with_gradient(part.latents, sigma, part.condition.take(part.rows))
    transition = _transition(part, velocity, rule)
    reference = base(part.latents, sigma, part.condition, part.rows)
    kl = transition_kl(transition, _transition(part, reference, rule)).mean()
    surrogate = clipped_surrogate(
        _group_log_prob(transition, part.next_latents).flatten(),
        old.flatten(),
        part.advantage.flatten(),
        clip_range=rule.clip_range,
    )
    loss = surrogate.loss + rule.kl_weight * kl
    (loss * share).backward()
    return _Part(
        loss=float(loss.detach()) * share,
        kl=float(kl.detach()) * share,
        ratio=surrogate.ratio,
        clipped=surrogate.clipped,
    )


def _sigma(sites: Sites, rule: UpdateRule) -> Tensor:
    return rule.sigmas.to(sites.latents)[sites.step]


def _transition(sites: Sites, velocity: Latents, rule: UpdateRule) -> Transition:
    return branch_transition(sites.latents, velocity, step=sites.step, sigmas=rule.sigmas, eta=rule.eta)
