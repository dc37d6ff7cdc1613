"""The policy update of one round: fix the old log-probabilities, then take the optimizer steps.

A site is a place that branches leave: latents at a step. G²RPO's branches of a (prompt, step) share one, and one
forward there gives the mean of the transition for the whole group; a branch that has left the others has sites of its
own. Source: G²RPO, arXiv:2510.01982; PPO, arXiv:1707.06347.
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
    """What a round learns from: n sites, and the m stochastic steps that left them.

    Example: G²RPO with 8 prompts, steps 0..3 and group size 12 has n = 32 sites and m = 384 steps, 12 a site.
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
        """Return the chosen sites, ascending, with what left them."""
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
    """How a round is turned into optimizer steps."""

    sigmas: Tensor
    sde: SDE
    eta: float
    clip_range: float
    kl_weight: float
    """beta; 0 as in the paper. KL(policy || base) per transition, mean over elements. At 0 it is measured at the first
    micro-batch of a step only."""
    cadence: Cadence
    """`iteration`: one step a pass, loss averaged over all sites (the sum over k divided by |M|).
    `step`: one step for each k, ascending, its loss undivided. The authors' code has had both."""
    num_minibatches: int
    """Optimizer steps of a pass at cadence `iteration`, each over as many of the prompts, in their order."""
    num_epochs: int
    """Passes over the round, at least 1. From the second step on, ratios leave 1 and the clip acts."""
    micro_batch: int
    """Sites a forward and backward."""
    off_policy: bool = False
    """Whether an earlier policy has rolled the round out: its ratios then begin off 1."""


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
    """KL(policy || base), mean over the stochastic steps that left the sites where it was measured, in nats per latent
    element: a site that a group shares weighs as many steps as left it."""
    grad_norm: float


def _log_prob(transition: Transition, sites: Sites) -> Rewards:
    """Return log-probabilities, shape (m,), of the steps under the one transition of each site."""
    each = Transition(mean=transition.mean[sites.site], std=transition.std[sites.site])
    return log_prob(sites.next_latents, each)


@dataclass(frozen=True)
class _Step:
    """An optimizer step: all its sites, ascending, and this process's micro-batches of them."""

    sites: Indices
    chunks: list[Indices]
    padded: bool
    """Whether the last micro-batch only keeps pace with the group's other processes, and counts for nothing."""

    @classmethod
    def of(cls, sites: Indices, micro_batch: int, process_group: ProcessGroup) -> "_Step":
        """Return the share of a process; all have as many micro-batches, since they meet in each."""
        own = process_group.own(sites)
        chunks = list(own.split(micro_batch)) if len(own) else []
        padded = len(chunks) < -(-len(ProcessGroup(0, process_group.size).own(sites)) // micro_batch)
        return cls(sites, [*chunks, sites[:1]] if padded else chunks, padded)

    def each(self) -> Iterator[tuple[Indices, bool]]:
        """Yield the micro-batches, and whether one counts."""
        for number, chosen in enumerate(self.chunks):
            yield chosen, not (self.padded and number == len(self.chunks) - 1)


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

    They are computed in the very micro-batches of the update, so that its first ratio is 1. Call it before
    the first optimizer step and hold its result fixed for the round. What the first optimizer step sees itself before
    it changes a weight is left NaN: its own forward fixes that at no further cost. In a process group each process
    computes those of its own share.
    """
    fixed = torch.full_like(sites.advantage, torch.nan)
    for chosen, counts in (part for step in _steps(sites, rule, field.team.process_group)[1:] for part in step.each()):
        part = sites.take(chosen)
        velocity = field.as_in_update(part.latents, _sigma(part, rule), part.condition.take(part.rows))
        if counts:
            fixed[sites.leaving(chosen)] = _log_prob(_transition(part, velocity, rule), part)
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
    step; their reports are alike, and their trainers hold the same policy.

    Args:
        log_prob_old: From `old_log_probs`; the first optimizer step fills in what is still NaN of this process's share.
            Where `off_policy`, those of the policy that rolled out.

    Raises:
        AssertionError: If the first ratio is not 1 where it must be: the old log-probabilities are not this policy's.
    """
    process_group = field.team.process_group
    learning = _Learning(field, base, sites, log_prob_old, rule)
    steps = [step for _ in range(rule.num_epochs) for step in _steps(sites, rule, process_group)]
    for number, step in enumerate(steps):
        seen = process_group.gathered(learning.backward(step))
        ratio = torch.cat([part.ratio for part in seen])
        if number == 0 and not rule.off_policy:
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
    """What one micro-batch contributed to a step; `loss` and `kl` weighted by its share."""

    loss: float
    kl: float
    ratio: Tensor
    clipped: Tensor


@dataclass(frozen=True)
class _Learning:
    """A round that is being learned from: `log_prob_old` is filled in where it is still NaN."""

    field: VelocityField
    base: VelocityField
    sites: Sites
    log_prob_old: Rewards
    rule: UpdateRule

    def backward(self, step: _Step) -> list[_Part]:
        """Accumulate the gradient of one optimizer step, a forward and backward for each own micro-batch."""
        weight = self._kl_weight(step.sites if self.rule.kl_weight > 0 else step.sites[: self.rule.micro_batch])
        branches = len(self.sites.leaving(step.sites))
        seen = list[_Part]()
        for number, (chosen, counts) in enumerate(step.each(), start=1):
            with self.field.team.adding_up(last=number == len(step.chunks)):
                if counts:
                    share = len(self.sites.leaving(chosen)) / branches
                    seen.append(self._part(chosen, share, weight[chosen]))
                else:
                    self._keep_pace(chosen)
        return seen

    def _kl_weight(self, measured: Indices) -> Float[Tensor, " n"]:
        """Return the share of each site in the mean over the steps that left the measured ones; 0 for the others."""
        leaving = self.sites.leaving(measured)
        return torch.bincount(self.sites.site[leaving], minlength=len(self.sites.step)) / len(leaving)

    def _part(self, chosen: Indices, share: float, kl_weight: Float[Tensor, " b"]) -> _Part:
        """Go through one micro-batch; sites with a weight are its first."""
        part, leaving, rule = self.sites.take(chosen), self.sites.leaving(chosen), self.rule
        law = self._law(part)
        now = _log_prob(law, part)
        if not bool(torch.isfinite(now).all()):
            raise FloatingPointError("Log-probabilities must be finite numbers; the policy's velocity is none.")
        before = self.log_prob_old[leaving]
        old = torch.where(torch.isnan(before), now.detach(), before)
        self.log_prob_old[leaving] = old
        surrogate = clipped_surrogate(now, old, part.advantage, clip_range=rule.clip_range)
        kl = now.new_zeros(())
        if judged := int(torch.count_nonzero(kl_weight)):
            first = self.sites.take(chosen[:judged])
            reference = self.base(first.latents, _sigma(first, rule), first.condition, first.rows)
            at_first = Transition(mean=law.mean[:judged], std=law.std[:judged])
            kl = (transition_kl(at_first, _transition(first, reference, rule)) * kl_weight[:judged]).sum()
        loss = surrogate.loss * share + rule.kl_weight * kl
        self._add(loss)
        return _Part(float(loss.detach()), float(kl.detach()), surrogate.ratio, surrogate.clipped)

    def _keep_pace(self, chosen: Indices) -> None:
        """Meet the other processes in a forward and backward that add nothing."""
        part = self.sites.take(chosen)
        self._add(0 * _log_prob(self._law(part), part).sum())

    def _law(self, part: Sites) -> Transition:
        velocity = self.field.with_gradient(part.latents, _sigma(part, self.rule), part.condition.take(part.rows))
        return _transition(part, velocity, self.rule)

    def _add(self, loss: Tensor) -> None:
        """Go backward: gradients are means over the processes, and their sum is wanted."""
        (loss * self.field.team.process_group.size).backward()


def _sigma(sites: Sites, rule: UpdateRule) -> Tensor:
    return rule.sigmas.to(sites.latents)[sites.step]


def _transition(sites: Sites, velocity: Latents, rule: UpdateRule) -> Transition:
    return branch_transition(sites.latents, velocity, step=sites.step, sigmas=rule.sigmas, sde=rule.sde, eta=rule.eta)
