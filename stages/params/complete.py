"""The section `complete` of params.yaml: the granularities at which each branch is completed."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stages.params.section import Count, Section, Steps, refuse_repeats


class CompleteParams(Section):
    """Stage `complete`: the ODE completes each branch, once per granularity."""

    granularities: Annotated[tuple[Steps, ...], Field(min_length=1, max_length=32)]
    """Lambda, the strides in steps; {1,2,3} in the paper, {1,2} in its script."""
    stride_rule: Literal["fine_first", "even", "published", "from_clean"]
    """Which indices a stride visits; see g2rpo/strides.py."""
    micro_batch: Count
    """Rows per call of the network."""

    @model_validator(mode="after")
    def _granularities_differ(self) -> Self:
        refuse_repeats("complete.granularities", self.granularities)
        return self
