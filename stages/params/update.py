"""The section `update` of params.yaml: the optimizer steps of a round."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stages.params.section import Count, CountOrNone, Fraction, NotNegative, Positive, Section, Share


class UpdateParams(Section):
    """Stage `update`: the optimizer steps of a round."""

    learning_rate: Positive
    """Peak learning rate of AdamW; 2e-6 for FLUX in the paper."""
    warmup_rounds: CountOrNone
    """Rounds over which the learning rate rises linearly to `learning_rate`."""
    decay_rounds: Count | None
    """Rounds over which it then falls linearly to `final_frac` of `learning_rate`; null: it stays constant."""
    final_frac: Annotated[NotNegative, Field(le=1)]
    """Share of `learning_rate` after the decay; without effect if `decay_rounds` is null."""
    halved_after: Annotated[tuple[CountOrNone, ...], Field(max_length=1000)]
    """Rounds, in rising order, after each of which the learning rate is halved; a round named twice quarters it. If a
    guard rolls a run back, the child run has the best round added here."""
    betas: tuple[Fraction, Fraction]
    """Betas of AdamW."""
    weight_decay: NotNegative
    """Weight decay of AdamW."""
    max_grad_norm: Positive
    """The global norm of the gradient is clipped to this."""
    clip_range: Positive
    """epsilon of PPO's clip; 1e-4 in the paper, since log-probabilities are means over latent elements."""
    train_frac: Share
    """Share of a branch's stochastic steps to train, drawn anew for each branch; 0.6 in DanceGRPO, else 1."""
    cadence: Literal["iteration", "step"]
    """`iteration`: one optimizer step per pass over the round. `step`: one for each stochastic step k."""
    num_minibatches: Count
    """Optimizer steps per pass at cadence `iteration`, each over equally many prompts: a divisor of
    `prompts.num_prompts`."""
    num_epochs: Count
    """Passes over the round."""
    kl_weight: NotNegative
    """beta of the KL to the base policy; 0 in the paper."""
    ema_decay: Annotated[Positive, Field(lt=1)] | None
    """Decay of the moving average of the weights, with which the policy is evaluated; null: no average."""
    micro_batch: Count
    """Sites (prompt, step) per forward and backward pass."""
    max_log_prob_gap: Positive
    """Largest allowed difference between the rollout's log-probabilities and the update's own."""

    @model_validator(mode="after")
    def _halvings_rise(self) -> Self:
        if list(self.halved_after) != sorted(self.halved_after):
            raise ValueError(
                f"update.halved_after: rounds in rising order are required, got {list(self.halved_after)}. Sort them."
            )
        return self
