"""The section `update` of params.yaml: the optimizer steps of a round."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stages.params.section import Count, Fraction, NotNegative, Positive, Section


class UpdateParams(Section):
    """Stage `update`: the optimizer steps of a round."""

    learning_rate: Positive
    """Of AdamW, at its highest; 2e-6 for FLUX in the paper."""
    warmup_rounds: Annotated[int, Field(ge=0)]
    """Rounds over which the learning rate rises to it, linearly."""
    decay_rounds: Count | None
    """Rounds over which it then falls, linearly, to `final_frac` of it; null keeps it."""
    final_frac: Annotated[float, Field(ge=0, le=1)]
    """Share of the learning rate that is left after the fall; it says nothing where there is none."""
    halved_after: tuple[Annotated[int, Field(ge=0)], ...]
    """Rounds, in rising order, after each of which the learning rate is halved; one named twice quarters it. A run
    that a guard rolls back goes on as the run with its best round added here."""
    betas: tuple[Fraction, Fraction]
    """Of AdamW."""
    weight_decay: NotNegative
    """Of AdamW."""
    max_grad_norm: Positive
    """The gradient's global norm is cut to this."""
    clip_range: Positive
    """c of PPO-clip; 1e-4 in the paper, since log-probabilities are means over elements."""
    train_frac: Annotated[float, Field(gt=0, le=1)]
    """Share of a branch's stochastic steps that are trained, drawn anew for each branch; 0.6 in DanceGRPO, else 1."""
    cadence: Literal["iteration", "step"]
    """One optimizer step a pass over the round, or one for each stochastic step k."""
    num_minibatches: Count
    """Optimizer steps of a pass at cadence `iteration`, each over as many prompts: a divisor of prompts.num_prompts."""
    num_epochs: Count
    """Passes over the round."""
    kl_weight: NotNegative
    """beta of the KL to the base policy; 0 in the paper."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None
    """Average of the weights by which the policy is judged; null keeps none."""
    micro_batch: Count
    """Sites (prompt, step) a forward and backward."""
    max_log_prob_gap: Positive
    """Largest difference allowed between the rollout's log-probabilities and the update's own."""

    @model_validator(mode="after")
    def _halvings_rise(self) -> Self:
        if list(self.halved_after) != sorted(self.halved_after):
            raise ValueError(
                f"update.halved_after: rounds in rising order are required, got {list(self.halved_after)}. Sort them."
            )
        return self
