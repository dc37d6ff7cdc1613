"""The section `score` of params.yaml: the trained rewards."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from stages.params.names import Name
from stages.params.section import Count, Section, refuse_repeats


class ScoreParams(Section):
    """Stage `score`: every trained reward scores every completed picture."""

    rewards: Annotated[tuple[Name, ...], Field(min_length=1, max_length=100)]
    """Names of the trained rewards."""
    micro_batch: Count
    """Pictures per call of a reward."""

    @model_validator(mode="after")
    def _rewards_differ(self) -> Self:
        refuse_repeats("score.rewards", self.rewards)
        return self
