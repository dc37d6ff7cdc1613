"""The section `placement` of params.yaml: where the stages run."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stages.params.names import Text
from stages.params.section import CountOrNone, Effect, NotNegative, Processes, Section


class ScorersParams(Section):
    """Runners that only score pictures, so that reward models can run on cheaper GPUs."""

    num_runners: Processes
    """Ray actors."""
    gpus_per_runner: Annotated[NotNegative, Field(le=1)]
    """GPUs per runner; a fraction lets several runners share a GPU, 0 scores on CPUs."""
    resource: Text | None
    """Name of a Ray resource that the nodes must have, as in `ray start --resources '{"l4": 4}'`; null: any node."""


class PlacementParams(Section):
    """Where the stages run. Only `staleness` changes numbers."""

    runner: Annotated[Literal["local", "ray"], Effect.NONE]
    """`local`: in the flow's process, on one device. `ray`: in actors of a Ray cluster."""
    address: Annotated[Text | None, Effect.NONE]
    """Address of the cluster, such as `auto` on one of its nodes; null: RAY_ADDRESS, else a cluster on this machine for
    the run."""
    num_runners: Annotated[Processes, Effect.NONE]
    """Ray actors, each with its own models."""
    gpus_per_runner: Annotated[Literal[0, 1], Effect.NONE]
    """GPUs per runner; 0 computes on CPUs."""
    cpus_per_runner: Annotated[NotNegative, Effect.NONE]
    """CPUs per runner, as Ray counts them; torch uses `resources.threads`."""
    scorers: Annotated[ScorersParams | None, Effect.NONE]
    """Separate runners for stage `score`; null: the other runners score too."""
    update_runners: Annotated[Processes | None, Effect.NONE]
    """Number of runners that take the optimizer steps; null: all."""
    parallel: Annotated[Literal["auto", "ddp", "fsdp"], Effect.NONE]
    """How several runners train: `ddp` as copies, `fsdp` with sharded weights; `auto`: copies for adapters, shards for
    all weights."""
    max_restarts: Annotated[CountOrNone, Effect.NONE]
    """Lost runners that a run replaces; one more, and the stage ends."""
    staleness: Literal[0, 1]
    """1: the policy of the round before samples each round, while that policy updates; the importance ratio uses the
    log-probabilities that the rollout stored. 0 in the paper."""

    @property
    def num_updating(self) -> int:
        """Processes that take the optimizer steps together."""
        return 1 if self.runner == "local" else self.update_runners or self.num_runners

    @property
    def num_devices(self) -> int:
        """Devices that a run needs: GPUs, or runners on CPUs; the sum of all fractions of a GPU is rounded up."""
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
                "placement.staleness: 0 is required if no runner is left to sample during the update, got 1. Set "
                "placement.runner to ray and placement.update_runners below placement.num_runners, or staleness to 0."
            )
        return self
