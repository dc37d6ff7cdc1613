"""The section `report` of params.yaml: the final evaluation."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stages.params.section import Count, Section, Steps, refuse_repeats, refuse_too_many


class ReportParams(Section):
    """The final evaluation of base and aligned policy; all other settings are those of `evaluate`."""

    split: Literal["train", "tuning", "test", "all"]
    """Captions never used for training or for choosing a round."""
    num_prompts: Count
    """Captions, spread evenly over the split; at most its size."""
    num_noises: Annotated[Count, Field(le=1000)]
    """Noises per caption."""
    num_steps: Annotated[tuple[Steps, ...], Field(min_length=1, max_length=100)] | None
    """Numbers of inference steps to evaluate at; null: those of `evaluate`."""

    @model_validator(mode="after")
    def _pictures_are_few_and_steps_differ(self) -> Self:
        refuse_too_many("report", self.num_prompts, self.num_noises)
        refuse_repeats("report.num_steps", self.num_steps or ())
        return self
