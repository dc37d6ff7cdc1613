"""The section `run` of params.yaml: what tells a run from its repetition."""

from typing import Annotated

from pydantic import Field

from stages.params.section import Count, Effect, Section


class RunParams(Section):
    """What makes one run another than its repetition."""

    seed: Annotated[int, Field(ge=0, lt=2**63)]
    """Every noise and every draw of prompts hangs on it."""
    rounds: Annotated[Count, Effect.NONE]
    """Rounds to reach. More rounds continue the same run."""
