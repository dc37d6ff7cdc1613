"""The policy update of one round: fix the old log-probabilities, then take the optimizer steps.

A site is a place that branches leave: latents at a step. G²RPO's branches of a (prompt, step) share one, and one
forward there gives the mean of the transition for the whole group; a branch that has left the others has its own
sites. Source: G²RPO, arXiv:2510.01982; PPO, arXiv:1707.06347.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from g2rpo.distributed.group import ProcessGroup
from g2rpo.losses import clipped_surrogate
from g2rpo.policies.protocol import Condition
from g2rpo.sampler import branch_transition
from g2rpo.sde import SDE, Transition, log_prob, transition_kl
from g2rpo.trainer import Trainer
from g2rpo.types import Index, Indices, Latents, Rewards
from g2rpo.velocity import VelocityField

Cadence = Literal["iteration", "step"]

_FIRST_RATIO_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Sites:
    """The training data of a round: n sites, and the m stochastic steps that left them.

    Example: G²RPO with 8 prompts, steps 0..3 and group size 12 has n = 32 sites and m = 384 steps, 12 per site.
    """

    latents: Latents
    """x_k, shape (n, ...)."""
    step: Index
    """k, shape (n,)."""
    rows: Index
    """Row of `condition`, shape (n,)."""
    condition: Condition
    site: Int64[Tensor, " m"]
    """The site that each stochastic step left, ascending, shape (m,)."""
    next_latents: Float[Tensor, "m ..."]
    """x_{k+1} of each stochastic step, shape (m, ...)."""
    advantage: Float[Tensor, " m"]
    """Of the branch that took it, shape (m,)."""

    def leaving(self, chosen: Index) -> Int64[Tensor, " m"]:
        """Return the stochastic steps that left the chosen sites, ascending."""
        return torch.nonzero(torch.isin(self.site, chosen)).flatten()

    def take(self, chosen: Index) -> "Sites":
        """Return the chosen sites, ascending, with the steps that left them."""
        leaving = self.leaving(chosen)
        return Sites(
            latents=self.latents[chosen],
            step=self.step[chosen],
            rows=self.rows[chosen],
            condition=self.condition,
            site=torch.searchsorted(chosen, self.site[leaving]),
            next_latents=self.next_latents[leaving],
            advantage=self.advantage[leaving],
        )


@dataclass(frozen=True)
class UpdateRule:
    """How a round becomes optimizer steps."""

    sigmas: Tensor
    sde: SDE
    eta: float
    clip_range: float
    kl_weight: float
    """beta; 0 as in the paper. KL(policy || base) per transition, mean over elements. At 0 it is measured at the first
    micro-batch of a step only."""
    cadence: Cadence
    """`iteration`: one step per pass, loss averaged over all sites (the sum over k divided by |M|).
    `step`: one step for each k, ascending, its loss undivided. The authors' code has used both."""
    num_minibatches: int
    """Optimizer steps per pass at cadence `iteration`; each takes an equal share of the prompts, in their order."""
    num_epochs: int
    """Passes over the round, at least 1. From the second step on, ratios leave 1 and the clip acts."""
    micro_batch: int
    """Sites per forward and backward pass."""
    off_policy: bool = False
    """Whether an earlier policy made the rollout: the first ratios then differ from 1."""


@dataclass(frozen=True)
class StepReport:
    """Measurements of one optimizer step; the ratios are those before it.

    Example: the first step of a round reports ratio_mean = ratio_min = ratio_max = 1 and clip_frac = 0.
    """

    loss: float
    ratio_mean: float
    ratio_min: float
    ratio_max: float
    clip_frac: float
    kl: float
    """KL(policy || base), mean over the stochastic steps that left the measured sites, in nats per latent element: a
    site counts as often as steps left it."""
    grad_norm: float


def _log_prob(transition: Transition, sites: Sites) -> Rewards:
    """Return log-probabilities, shape (m,), of the steps under the transition of their sites."""
    each = Transition(mean=transition.mean[sites.site], std=transition.std[sites.site])
    return log_prob(sites.next_latents, each)


@dataclass(frozen=True)
class _Step:
    """An optimizer step: all its sites, ascending, and this process's micro-batches of them."""

    sites: Indices
    chunks: list[Indices]
    padded: bool
    """Whether the last micro-batch only keeps pace with the group's other processes, and does not count."""

    @classmethod
    def of(cls, sites: Indices, micro_batch: int, process_group: ProcessGroup) -> "_Step":
        """Return the share of a process; all have the same number of micro-batches, since they synchronise in each."""
        own = process_group.own(sites)
        chunks = list(own.split(micro_batch)) if len(own) else []
        padded = len(chunks) < -(-len(ProcessGroup(0, process_group.size).own(sites)) // micro_batch)
        return cls(sites, [*chunks, sites[:1]] if padded else chunks, padded)

    def each(self) -> Iterator[tuple[Indices, bool]]:
        """Yield the micro-batches, and whether each counts."""
        for number, chunk in enumerate(self.chunks):
            yield chunk, not (self.padded and number == len(self.chunks) - 1)


def _steps(sites: Sites, rule: UpdateRule, process_group: ProcessGroup) -> list[_Step]:
    """Return the optimizer steps of a pass."""
    everything = torch.arange(len(sites.step), device=sites.step.device)
    if rule.cadence == "iteration":
        prompts = sites.rows.unique_consecutive().tensor_split(rule.num_minibatches)
        parts = [everything[torch.isin(sites.rows, some)] for some in prompts]
    else:
        parts = [everything[sites.step == step] for step in sites.step.unique()]
    return [_Step.of(part, rule.micro_batch, process_group) for part in parts]


def old_log_probs(field: VelocityField, sites: Sites, rule: UpdateRule) -> Rewards:
    """Return the log-probabilities, shape (m,), of the stochastic steps under the policy as it is now.

    They are computed in the micro-batches of the update, so that its first ratio is 1. Call it before the first
    optimizer step and keep the result fixed for the round. The values of the first optimizer step stay NaN: its own
    forward pass, before it changes a weight, fills them in at no further cost. In a process group each process computes
    those of its own share.
    """
    fixed = torch.full_like(sites.advantage, torch.nan)
    for chunk, counts in (part for step in _steps(sites, rule, field.team.process_group)[1:] for part in step.each()):
        part = sites.take(chunk)
        velocity = field.as_in_update(part.latents, _sigma(part, rule), part.condition.take(part.rows))
        if counts:
            fixed[sites.leaving(chunk)] = _log_prob(_transition(part, velocity, rule), part)
    return fixed


def optimise(
    field: VelocityField,
    base: VelocityField,
    trainer: Trainer,
    *,
    sites: Sites,
    log_prob_old: Rewards,
    rule: UpdateRule,
) -> Iterator[StepReport]:
    """Take the optimizer steps of one round, yielding a report after each.

    The loss of a step is the clipped surrogate plus `kl_weight` KL(policy || base), both means over its stochastic
    steps, as in the objective of Flow-GRPO (arXiv:2505.05470). The processes of `field.team` share the sites of each
    step; their reports are equal, and their trainers hold the same policy.

    Args:
        log_prob_old: From `old_log_probs`; the first optimizer step replaces the NaN of this process's share. If
            `off_policy`, those of the policy that made the rollout.

    Raises:
        AssertionError: If the first ratio is not 1, unless `off_policy`: `log_prob_old` is not this policy's.
    """
    process_group = field.team.process_group
    update = _RoundUpdate(field, base, sites, log_prob_old, rule)
    steps = [step for _ in range(rule.num_epochs) for step in _steps(sites, rule, process_group)]
    for number, step in enumerate(steps):
        parts = process_group.gathered(update.backward(step))
        ratio = torch.cat([part.ratio for part in parts])
        if number == 0 and not rule.off_policy:
            gap = float((ratio - 1).abs().max())
            assert gap <= _FIRST_RATIO_TOLERANCE, f"The first ratio of a round must be 1, it is off by {gap}."
        yield StepReport(
            loss=sum(part.loss for part in parts),
            ratio_mean=float(ratio.mean()),
            ratio_min=float(ratio.min()),
            ratio_max=float(ratio.max()),
            clip_frac=float(torch.cat([part.clipped for part in parts]).float().mean()),
            kl=sum(part.kl for part in parts),
            grad_norm=trainer.step(),
        )


@dataclass(frozen=True)
class _Part:
    """The contribution of one micro-batch to a step; `loss` and `kl` weighted by its share."""

    loss: float
    kl: float
    ratio: Tensor
    clipped: Tensor


@dataclass(frozen=True)
class _RoundUpdate:
    """The update of one round; `log_prob_old` is filled in where it is still NaN."""

    field: VelocityField
    base: VelocityField
    sites: Sites
    log_prob_old: Rewards
    rule: UpdateRule

    def backward(self, step: _Step) -> list[_Part]:
        """Accumulate the gradient of one optimizer step, a forward and backward per micro-batch of this process."""
        weight = self._kl_weight(step.sites if self.rule.kl_weight > 0 else step.sites[: self.rule.micro_batch])
        branches = len(self.sites.leaving(step.sites))
        parts = list[_Part]()
        for number, (chunk, counts) in enumerate(step.each(), start=1):
            with self.field.team.adding_up(last=number == len(step.chunks)):
                if counts:
                    share = len(self.sites.leaving(chunk)) / branches
                    parts.append(self._part(chunk, share, weight[chunk]))
                else:
                    self._keep_pace(chunk)
        return parts

    def _kl_weight(self, measured: Indices) -> Float[Tensor, " n"]:
        """Return each site's weight in the mean over the steps that left the measured sites; 0 for the others."""
        leaving = self.sites.leaving(measured)
        return torch.bincount(self.sites.site[leaving], minlength=len(self.sites.step)) / len(leaving)

    def _part(self, chunk: Indices, share: float, kl_weight: Float[Tensor, " b"]) -> _Part:
        """Run forward and backward on one micro-batch; the sites with a KL weight are its first."""
        part, leaving, rule = self.sites.take(chunk), self.sites.leaving(chunk), self.rule
        law = self._law(part)
        now = _log_prob(law, part)
        if not bool(torch.isfinite(now).all()):
            raise FloatingPointError("Log-probabilities must be finite numbers; the policy's velocity is not finite.")
        before = self.log_prob_old[leaving]
        old = torch.where(torch.isnan(before), now.detach(), before)
        self.log_prob_old[leaving] = old
        surrogate = clipped_surrogate(now, old, part.advantage, clip_range=rule.clip_range)
        kl = now.new_zeros(())
        if num_measured := int(torch.count_nonzero(kl_weight)):
            first = self.sites.take(chunk[:num_measured])
            reference = self.base(first.latents, _sigma(first, rule), first.condition, first.rows)
            first_law = Transition(mean=law.mean[:num_measured], std=law.std[:num_measured])
            kl = (transition_kl(first_law, _transition(first, reference, rule)) * kl_weight[:num_measured]).sum()
        loss = surrogate.loss * share + rule.kl_weight * kl
        self._add(loss)
        return _Part(float(loss.detach()), float(kl.detach()), surrogate.ratio, surrogate.clipped)

    def _keep_pace(self, chunk: Indices) -> None:
        """Keep pace with the other processes by a forward and backward pass that adds nothing."""
        part = self.sites.take(chunk)
        self._add(0 * _log_prob(self._law(part), part).sum())

    def _law(self, part: Sites) -> Transition:
        velocity = self.field.with_gradient(part.latents, _sigma(part, self.rule), part.condition.take(part.rows))
        return _transition(part, velocity, self.rule)

    def _add(self, loss: Tensor) -> None:
        """Run the backward pass; gradients are averaged over the processes, so scale the loss to get their sum."""
        (loss * self.field.team.process_group.size).backward()


def _sigma(sites: Sites, rule: UpdateRule) -> Tensor:
    return rule.sigmas.to(sites.latents)[sites.step]


def _transition(sites: Sites, velocity: Latents, rule: UpdateRule) -> Transition:
    return branch_transition(sites.latents, velocity, step=sites.step, sigmas=rule.sigmas, sde=rule.sde, eta=rule.eta)
