"""The parameters as frozen, strict records: a section is named after the stage that owns it.

No default stands here: what params.yaml does not say is an error, and so is what it says too much.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from g2rpo.strides import completion_path
from stages.params.guards import GuardsParams
from stages.params.integrate import IntegrateParams
from stages.params.placement import PlacementParams
from stages.params.policy import PolicyParams
from stages.params.rewards import RewardParams
from stages.params.rollout import RolloutParams
from stages.params.section import Count, Fraction, NotNegative, Positive, Section, refuse_repeats


class RunParams(Section):
    """What makes one run another than its repetition."""

    seed: Annotated[int, Field(ge=0, lt=2**63)]
    """Every noise and every draw of prompts hangs on it."""
    rounds: Count
    """Rounds to reach. More rounds continue the same run."""


class ResourcesParams(Section):
    """What the stages compute on."""

    device: Literal["auto", "cpu", "cuda"]
    """`auto` takes CUDA where there is one."""
    dtype: Literal["float32", "bfloat16"]
    """What the networks compute in; weights, latents and log-probabilities stay in float32."""
    threads: Count
    """CPU threads of torch. It changes the last bits of float32 results."""
    decode_batch: Count
    """Latents a call of the autoencoder; all at once is what runs out of memory first."""
    gradient_checkpointing: bool
    """Whether a block's activations are computed again in the backward pass: less memory, a third more time there."""
    attention: str
    """Attention backend of diffusers, as `native`, `flash` or `_native_cudnn`."""
    compile: bool
    """Whether `torch.compile` compiles the repeated blocks of the transformer."""
    quantise: Literal["int8"] | None
    """What frozen weights are held in where an adapter is trained: 8 bits, half of bfloat16; null as they compute."""
    between_stages: Literal["keep", "offload"]
    """What becomes of models that a stage does not need: they stay, or move to the CPU's memory."""


class PromptsParams(Section):
    """Stage `prompts`: what a round is asked to paint."""

    split: Literal["train", "tuning", "test", "all"]
    """Captions to draw from: each once an epoch, in an order that the seed decides."""
    path: str | None
    """Folder of prompt lists, one for each split, in a layout of docs/prompts.md; null takes the family's own."""
    num_prompts: Count
    """Prompts a round."""
    shard_size: Count
    """Prompts a shard; the shard is the unit of placement, retry and resume."""


class CompleteParams(Section):
    """Stage `complete`: each branch is finished by the ODE once per granularity."""

    granularities: Annotated[tuple[Count, ...], Field(min_length=1)]
    """Lambda, the strides in steps; {1,2,3} in the paper, {1,2} in its script."""
    stride_rule: Literal["fine_first", "even", "published", "from_clean"]
    """Which indices a stride visits; see g2rpo/strides.py."""
    micro_batch: Count
    """Rows a call of the network."""


class ScoreParams(Section):
    """Stage `score`: every completed picture before every trained reward."""

    rewards: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of the rewards that are trained on."""
    micro_batch: Count
    """Pictures a call of a reward."""


class UpdateParams(Section):
    """Stage `update`: the optimizer steps of a round."""

    learning_rate: Positive
    """Of AdamW, at its highest; 2e-6 for FLUX in the paper."""
    warmup_rounds: Annotated[int, Field(ge=0)]
    """Rounds over which the learning rate rises to it, linearly."""
    decay_rounds: Count | None
    """Rounds over which it then falls, linearly, to `final_frac` of it; null keeps it."""
    final_frac: Annotated[float, Field(ge=0, le=1)]
    """Share of the learning rate that is left after the fall; it says nothing where there is none."""
    halved_after: tuple[Annotated[int, Field(ge=0)], ...]
    """Rounds, in rising order, after each of which the learning rate is halved; one named twice quarters it. A run
    that a guard rolls back goes on as the run with its best round added here."""
    betas: tuple[Fraction, Fraction]
    """Of AdamW."""
    weight_decay: NotNegative
    """Of AdamW."""
    max_grad_norm: Positive
    """The gradient's global norm is cut to this."""
    clip_range: Positive
    """c of PPO-clip; 1e-4 in the paper, since log-probabilities are means over elements."""
    train_frac: Annotated[float, Field(gt=0, le=1)]
    """Share of a branch's stochastic steps that are trained, drawn anew for each branch; 0.6 in DanceGRPO, else 1."""
    cadence: Literal["iteration", "step"]
    """One optimizer step a pass over the round, or one for each stochastic step k."""
    num_minibatches: Count
    """Optimizer steps of a pass at cadence `iteration`, each over as many prompts: a divisor of prompts.num_prompts."""
    num_epochs: Count
    """Passes over the round."""
    kl_weight: NotNegative
    """beta of the KL to the base policy; 0 in the paper."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None
    """Average of the weights by which the policy is judged; null keeps none."""
    micro_batch: Count
    """Sites (prompt, step) a forward and backward."""
    max_log_prob_gap: Positive
    """Largest difference allowed between the rollout's log-probabilities and the update's own."""


class EvaluateParams(Section):
    """Stage `evaluate`: held-out prompts, fixed noise, the ODE. It never changes what is learned."""

    every: Count
    """Rounds between evaluations; the base and the last round are always evaluated."""
    split: Literal["train", "tuning", "test", "all"]
    """Captions evaluated during the run; `test` is kept for the report."""
    num_prompts: Count
    """Captions, spread evenly over the split; at most its size."""
    num_noises: Count
    """Noises a caption."""
    num_steps: Annotated[tuple[Count, ...], Field(min_length=1)]
    """Numbers of inference steps to evaluate at."""
    rewards: Annotated[tuple[str, ...], Field(min_length=1)]
    """Rewards to report, those never trained on included."""
    choose_by: str
    """Which of `rewards` says which round is the best: the one with its highest mean at the first of `num_steps`."""
    num_pictures: Count
    """Captions whose pictures are kept, each with its first noise."""
    micro_batch: Count
    """Rows a call of the network, and pictures a call of a reward."""


class ReportParams(Section):
    """The final evaluation of base and aligned policy, otherwise as `evaluate` says."""

    split: Literal["train", "tuning", "test", "all"]
    """Captions never used for learning or choosing."""
    num_prompts: Count
    """Captions, spread evenly over the split; at most its size."""
    num_noises: Count
    """Noises a caption."""
    num_steps: Annotated[tuple[Count, ...], Field(min_length=1)] | None
    """Numbers of inference steps to evaluate at; null takes those of `evaluate`."""


class RetentionParams(Section):
    """What stays of the rounds that are done. Prompts, rewards, advantages, updates and metrics stay for ever."""

    rounds: Count | None
    """The last rounds whose latents and policy stay; null keeps those of all. Policies that `evaluate.every` judges
    stay for ever."""


class TrackingParams(Section):
    """Where a run is shown. It changes no number."""

    experiment: str
    """Name of the MLflow experiment."""
    uri: str | None
    """MLflow tracking URI; null takes MLFLOW_TRACKING_URI, else mlflow.db in the store."""


class Params(Section):
    """All of params.yaml."""

    run: RunParams
    resources: ResourcesParams
    placement: PlacementParams
    policy: PolicyParams
    rewards: dict[str, RewardParams]
    """Settings of rewards by the name that `score.rewards` and `evaluate.rewards` give them; the shapes world's need
    none."""
    prompts: PromptsParams
    rollout: RolloutParams
    complete: CompleteParams
    score: ScoreParams
    integrate: IntegrateParams
    update: UpdateParams
    evaluate: EvaluateParams
    report: ReportParams
    guards: GuardsParams
    retention: RetentionParams
    tracking: TrackingParams

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        refuse_repeats("complete.granularities", self.complete.granularities)
        refuse_repeats("score.rewards", self.score.rewards)
        refuse_repeats("evaluate.rewards", self.evaluate.rewards)
        refuse_repeats("evaluate.num_steps", self.evaluate.num_steps)
        refuse_repeats("report.num_steps", self.report.num_steps or ())
        if self.evaluate.choose_by not in self.evaluate.rewards:
            raise ValueError(
                f"evaluate.choose_by: one of evaluate.rewards is required, {', '.join(self.evaluate.rewards)}, got "
                f"{self.evaluate.choose_by}. Name the one that tells best, if possible one that is not trained on."
            )
        halved = self.update.halved_after
        if list(halved) != sorted(halved):
            raise ValueError(
                f"update.halved_after: rounds in rising order are required, got {list(halved)}. Sort them."
            )
        self.integrate.check(self.score.rewards, self.complete.granularities)
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
        rollout, complete = self.rollout, self.complete
        paths = {
            completion_path(rollout.num_steps, rollout.earliest_end + 1, granularity, complete.stride_rule)
            for granularity in complete.granularities
        }
        if len(paths) < len(complete.granularities):
            raise ValueError(
                "complete.granularities: granularities that reach the picture by different steps are required, got "
                f"{list(complete.granularities)}, of which some are the same from step {rollout.earliest_end + 1} of "
                f"{rollout.num_steps}. Name fewer, as [1]."
            )
        if self.report.split == self.evaluate.split:
            raise ValueError(
                "report.split: captions other than those of evaluate.split are required, so that what is reported was "
                f"not used for choosing; got {self.report.split} twice. Change one."
            )
        asked, device = self.placement, self.resources.device
        if asked.runner == "ray" and device != "auto" and (device == "cuda") != bool(asked.gpus_per_runner):
            raise ValueError(
                "placement.gpus_per_runner: 1 is required with resources.device cuda and 0 with cpu, got "
                f"{asked.gpus_per_runner} with {device}. Change one, or set resources.device to auto."
            )
        if asked.parallel == "fsdp" and self.adapted:
            raise ValueError(
                "placement.parallel: ddp or auto is required where an adapter is trained, got fsdp: shares are for a "
                "network of which all weights are. Change it, or set policy.lora to null."
            )
        if self.resources.quantise and not self.adapted:
            raise ValueError(
                "resources.quantise: a policy of which only an adapter is trained is required, since quantised weights "
                f"cannot be; got {self.resources.quantise} with a {self.policy.family} policy without policy.lora. "
                "Set policy.lora, or resources.quantise to null."
            )
        return self

    @property
    def learns_in_shares(self) -> bool:
        """Whether the weights that are trained lie in shares on several runners, beside a copy on each that paints."""
        asked = self.placement
        return asked.num_updating > 1 and (asked.parallel == "fsdp" or (asked.parallel == "auto" and not self.adapted))

    @property
    def adapted(self) -> bool:
        """Whether an adapter is trained, and no other weights."""
        return getattr(self.policy, "lora", None) is not None


def for_report(params: Params) -> Params:
    """Return the parameters by which the stage `evaluate` makes the final evaluation."""
    said = {name: value for name, value in params.report.model_dump().items() if value is not None}
    final = params.evaluate.model_copy(update=said)
    return params.model_copy(update={"evaluate": final})
