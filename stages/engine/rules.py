"""The parameters as records of the method."""

from collections.abc import Sequence

import torch

from g2rpo.advantages import IntegrationRule
from g2rpo.learning_rate import scheduled
from g2rpo.optimise import UpdateRule
from g2rpo.trainer import OptimizerSettings
from stages.params.integrate import IntegrateParams
from stages.params.record import Params
from stages.params.update import UpdateParams


def update_rule(params: Params, round_number: int, sigmas: torch.Tensor) -> UpdateRule:
    """Return the rule by which a round becomes optimizer steps, on a schedule."""
    return UpdateRule(
        sigmas=sigmas,
        sde=params.rollout.sde,
        eta=params.rollout.eta,
        clip_range=params.update.clip_range,
        kl_weight=params.update.kl_weight,
        cadence=params.update.cadence,
        num_minibatches=params.update.num_minibatches,
        num_epochs=params.update.num_epochs,
        micro_batch=params.update.micro_batch,
        off_policy=params.placement.staleness > 0 and round_number > 0,  # the base samples the first round
    )


def learning_rate(chosen: UpdateParams, round_number: int) -> float:
    """Return the learning rate of a round, halved for each entry of `halved_after` up to this round."""
    halvings = sum(after <= round_number for after in chosen.halved_after)
    return 0.5**halvings * scheduled(
        chosen.learning_rate,
        round_number,
        warmup_rounds=chosen.warmup_rounds,
        decay_rounds=chosen.decay_rounds,
        final_frac=chosen.final_frac,
    )


def optimizer_settings(chosen: UpdateParams) -> OptimizerSettings:
    """Return the optimizer settings of params.yaml."""
    return OptimizerSettings(
        learning_rate=chosen.learning_rate,
        betas=chosen.betas,
        weight_decay=chosen.weight_decay,
        max_grad_norm=chosen.max_grad_norm,
        ema_decay=chosen.ema_decay,
    )


def integration_rule(chosen: IntegrateParams, granularities: Sequence[int]) -> IntegrationRule:
    """Return the rule by which the rewards of a group become its advantages, at these granularities."""
    weights = chosen.granularity_weights or (1.0,) * len(granularities)
    return IntegrationRule(
        reward_weights=chosen.reward_weights,
        granularity_weights=dict(zip(granularities, weights, strict=True)),
        fusion=chosen.fusion,
        normalise=chosen.normalise,
        std_floor_frac=chosen.std_floor_frac,
        std_eps=chosen.std_eps,
        clamp=chosen.clamp,
    )
