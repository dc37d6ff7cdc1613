"""The section `run` of params.yaml: its seed and its length."""

from typing import Annotated

from pydantic import Field

from stages.params.section import Count, Effect, Section


class RunParams(Section):
    """Seed and length of a run."""

    seed: Annotated[int, Field(ge=0, lt=2**63)]
    """Determines every noise and every draw of prompts."""
    rounds: Annotated[Count, Effect.NONE]
    """Number of rounds. More rounds continue the same run."""
