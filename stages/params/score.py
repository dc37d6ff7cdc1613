"""The section `score` of params.yaml: the rewards that are trained on."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from stages.params.section import Count, Section, refuse_repeats


class ScoreParams(Section):
    """Stage `score`: every completed picture before every trained reward."""

    rewards: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of the rewards that are trained on."""
    micro_batch: Count
    """Pictures a call of a reward."""

    @model_validator(mode="after")
    def _rewards_differ(self) -> Self:
        refuse_repeats("score.rewards", self.rewards)
        return self
