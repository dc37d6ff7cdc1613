"""The parameters as one frozen, strict record; the file of each section has its name.

No key has a default here: a missing key is an error, and so is an unknown one.
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from g2rpo.strides import completion_path
from stages.params.complete import CompleteParams
from stages.params.evaluate import EvaluateParams
from stages.params.guards import GuardsParams
from stages.params.integrate import IntegrateParams
from stages.params.names import Name
from stages.params.placement import PlacementParams
from stages.params.policy import PolicyParams
from stages.params.prompts import PromptsParams
from stages.params.report import ReportParams
from stages.params.resources import ResourcesParams
from stages.params.retention import RetentionParams
from stages.params.rewards import RewardParams
from stages.params.rollout import RolloutParams
from stages.params.run import RunParams
from stages.params.score import ScoreParams
from stages.params.section import Effect, Section
from stages.params.tracking import TrackingParams
from stages.params.update import UpdateParams

_MOST_SITES = 10_000_000
"""Branches of a round; the check of parameters counts each of them."""


class Params(Section):
    """All of params.yaml."""

    run: RunParams
    resources: ResourcesParams
    placement: PlacementParams
    policy: PolicyParams
    rewards: Annotated[dict[Name, RewardParams], Field(max_length=100), Effect.CONTENTS]
    """Settings of rewards, by the names that `score.rewards` and `evaluate.rewards` use; the rewards of the model's
    family need none."""
    prompts: PromptsParams
    rollout: RolloutParams
    complete: CompleteParams
    score: ScoreParams
    integrate: IntegrateParams
    update: UpdateParams
    evaluate: Annotated[EvaluateParams, Effect.EVALUATION]
    report: Annotated[ReportParams, Effect.EVALUATION]
    guards: Annotated[GuardsParams, Effect.NONE]
    retention: Annotated[RetentionParams, Effect.NONE]
    tracking: Annotated[TrackingParams, Effect.NONE]

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        self.integrate.check(self.score.rewards, self.complete.granularities)
        self._check_size()
        self._check_update()
        self._check_paths()
        self._check_splits()
        self._check_placement()
        return self

    @property
    def trains_sharded(self) -> bool:
        """Whether several runners shard the trained weights, beside a whole copy on each for sampling."""
        placement = self.placement
        sharded = placement.parallel == "fsdp" or (placement.parallel == "auto" and not self.adapted)
        return placement.num_updating > 1 and sharded

    @property
    def adapted(self) -> bool:
        """Whether only an adapter is trained."""
        return getattr(self.policy, "lora", None) is not None

    def _check_size(self) -> None:
        sites = self.prompts.num_prompts * self.rollout.group_size * len(self.rollout.steps)
        if sites > _MOST_SITES:
            raise ValueError(
                f"prompts.num_prompts: at most {_MOST_SITES:,} branches of a round, prompts.num_prompts times "
                f"rollout.group_size times the number of rollout.steps, are required, got {sites:,}. Lower one."
            )

    def _check_update(self) -> None:
        most = self.prompts.num_prompts if self.update.cadence == "iteration" else 1
        if most % self.update.num_minibatches:
            raise ValueError(
                "update.num_minibatches: a divisor of prompts.num_prompts is required, and 1 at cadence step, got "
                f"{self.update.num_minibatches} with {self.prompts.num_prompts} prompts at cadence "
                f"{self.update.cadence}. Change one."
            )
        if self.update.train_frac < 1 and self.rollout.method == "g2rpo":
            raise ValueError(
                "update.train_frac: 1 is required with rollout.method g2rpo, whose windows have one step, got "
                f"{self.update.train_frac}. Set it to 1, or take fewer rollout.steps."
            )

    def _check_paths(self) -> None:
        rollout, complete = self.rollout, self.complete
        paths = {
            completion_path(rollout.num_steps, rollout.earliest_end + 1, granularity, complete.stride_rule)
            for granularity in complete.granularities
        }
        if len(paths) < len(complete.granularities):
            raise ValueError(
                "complete.granularities: granularities that reach the picture by different steps are required, got "
                f"{list(complete.granularities)}: some take the same steps from step {rollout.earliest_end + 1} of "
                f"{rollout.num_steps}. Name fewer, such as [1]."
            )

    def _check_splits(self) -> None:
        if self.report.split == self.evaluate.split:
            raise ValueError(
                "report.split: a split other than evaluate.split is required, since evaluate.split selects the best "
                f"round; got {self.report.split} for both. Change one."
            )

    def _check_placement(self) -> None:
        placement, device = self.placement, self.resources.device
        if placement.runner == "ray" and device != "auto" and (device == "cuda") != bool(placement.gpus_per_runner):
            raise ValueError(
                "placement.gpus_per_runner: 1 is required with resources.device cuda and 0 with cpu, got "
                f"{placement.gpus_per_runner} with {device}. Change one, or set resources.device to auto."
            )
        if placement.parallel == "fsdp" and self.adapted:
            raise ValueError(
                "placement.parallel: ddp or auto is required to train an adapter, got fsdp, which is for training all "
                "weights. Change it, or set policy.lora to null."
            )
        if self.resources.quantise and not self.adapted:
            raise ValueError(
                "resources.quantise: a policy with an adapter is required, since quantised weights cannot be trained; "
                f"got {self.resources.quantise} with a {self.policy.family} policy without policy.lora. "
                "Set policy.lora, or resources.quantise to null."
            )


def for_report(params: Params) -> Params:
    """Return the parameters with which stage `evaluate` makes the final evaluation."""
    report = {f"evaluate.{name}": value for name, value in params.report.model_dump().items() if value is not None}
    return params.with_values(report)
