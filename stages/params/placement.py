"""The section `placement` of params.yaml: where the stages run."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stages.params.section import Count, Effect, NotNegative, Section


class ScorersParams(Section):
    """Runners that do nothing but judge pictures, so that reward models may live on cheaper cards."""

    num_runners: Count
    """Ray actors."""
    gpus_per_runner: Annotated[float, Field(ge=0, le=1)]
    """GPUs of each; a share of one lets several live on it, 0 judges on CPUs."""
    resource: str | None
    """Name of a Ray resource that the nodes meant have, as in `ray start --resources '{"l4": 4}'`; null: any node."""


class PlacementParams(Section):
    """Where the stages run. It changes no number, but for `staleness`."""

    runner: Annotated[Literal["local", "ray"], Effect.NONE]
    """`local`: all in the process of the flow, on one device. `ray`: by actors of a Ray cluster."""
    address: Annotated[str | None, Effect.NONE]
    """Of the cluster, as `auto` within one; null takes RAY_ADDRESS, else starts one on this machine for the run."""
    num_runners: Annotated[Count, Effect.NONE]
    """Ray actors, each with models of its own."""
    gpus_per_runner: Annotated[Literal[0, 1], Effect.NONE]
    """GPUs of each; 0 computes on CPUs."""
    cpus_per_runner: Annotated[NotNegative, Effect.NONE]
    """CPUs of each, as Ray counts them; torch takes `resources.threads`."""
    scorers: Annotated[ScorersParams | None, Effect.NONE]
    """Who judges the pictures of stage `score`; null: the runners do."""
    update_runners: Annotated[Count | None, Effect.NONE]
    """How many of the runners take the optimizer steps; null: all."""
    parallel: Annotated[Literal["auto", "ddp", "fsdp"], Effect.NONE]
    """How they do: `ddp` trains copies, `fsdp` weights in shares; `auto` copies of adapters, shares of all weights."""
    max_restarts: Annotated[Annotated[int, Field(ge=0)], Effect.NONE]
    """Runners lost in a run after each of which another is started; one more and the stage ends."""
    staleness: Literal[0, 1]
    """1: each round is rolled out by the policy of the round before, while that one updates, and the ratio is taken
    against its stored log-probabilities. The paper has 0."""

    @property
    def num_updating(self) -> int:
        """Processes that take the optimizer steps together."""
        return 1 if self.runner == "local" else self.update_runners or self.num_runners

    @property
    def num_devices(self) -> int:
        """Devices that a run takes: cards, or runners on CPUs; shares of a card are rounded up together."""
        if self.runner == "local":
            return 1
        if self.scorers is None:
            return self.num_runners
        share = self.scorers.gpus_per_runner if self.gpus_per_runner else 1
        return self.num_runners + math.ceil(self.scorers.num_runners * share)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        updating = self.update_runners or self.num_runners
        if updating > self.num_runners:
            raise ValueError(
                f"placement.update_runners: at most placement.num_runners, {self.num_runners}, can update, got "
                f"{updating}. Lower it, or set it to null."
            )
        if self.staleness and (self.runner == "local" or updating == self.num_runners):
            raise ValueError(
                "placement.staleness: 0 is required where nobody is left to roll out while others update, got 1. Set "
                "placement.runner to ray and placement.update_runners below placement.num_runners, or staleness to 0."
            )
        return self
