"""The section `evaluate` of params.yaml: held-out captions during the run."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stages.params.names import Name
from stages.params.section import Count, Effect, Section, Steps, refuse_repeats, refuse_too_many


class EvaluateParams(Section):
    """Stage `evaluate`: held-out prompts, sampled by the ODE from fixed noise. It does not affect training."""

    every: Annotated[Count, Effect.NONE]
    """Rounds between evaluations; the base and the last round are always evaluated."""
    split: Literal["train", "tuning", "test", "all"]
    """Captions evaluated during the run; `test` is kept for the report."""
    num_prompts: Count
    """Captions, spread evenly over the split; at most its size."""
    num_noises: Annotated[Count, Field(le=1000)]
    """Noises per caption."""
    num_steps: Annotated[tuple[Steps, ...], Field(min_length=1, max_length=100)]
    """Numbers of inference steps to evaluate at."""
    rewards: Annotated[tuple[Name, ...], Field(min_length=1, max_length=100)]
    """Rewards to report, including held-out rewards."""
    choose_by: Annotated[Name, Effect.NONE]
    """One of `rewards`; the best round has its highest mean at the first of `num_steps`."""
    num_pictures: Count
    """Captions whose pictures the store keeps, each with its first noise."""
    micro_batch: Count
    """Rows per call of the network, and pictures per call of a reward."""

    @model_validator(mode="after")
    def _one_reward_chooses(self) -> Self:
        refuse_repeats("evaluate.rewards", self.rewards)
        refuse_repeats("evaluate.num_steps", self.num_steps)
        refuse_too_many("evaluate", self.num_prompts, self.num_noises)
        if self.choose_by not in self.rewards:
            raise ValueError(
                f"evaluate.choose_by: one of evaluate.rewards is required, {', '.join(self.rewards)}, got "
                f"{self.choose_by}. Choose the most reliable one, if possible a held-out reward."
            )
        return self
