"""The section `report` of params.yaml: the final evaluation."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stages.params.section import Count, Section, refuse_repeats


class ReportParams(Section):
    """The final evaluation of base and aligned policy; all other settings are those of `evaluate`."""

    split: Literal["train", "tuning", "test", "all"]
    """Captions never used for training or for choosing a round."""
    num_prompts: Count
    """Captions, spread evenly over the split; at most its size."""
    num_noises: Count
    """Noises per caption."""
    num_steps: Annotated[tuple[Count, ...], Field(min_length=1)] | None
    """Numbers of inference steps to evaluate at; null: those of `evaluate`."""

    @model_validator(mode="after")
    def _steps_differ(self) -> Self:
        refuse_repeats("report.num_steps", self.num_steps or ())
        return self
