"""The section `rollout` of params.yaml: the stochastic steps of a round, one record per method."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from g2rpo.windows import Window, drawn_steps, one_step_windows, sliding_window, whole_window
from stages.params.section import Count, Positive, Section, Steps, refuse_repeats

Step = Annotated[int, Field(ge=0, le=1000)]


class _RolloutParams(Section):
    """The keys that all methods share."""

    num_steps: Annotated[Steps, Field(ge=2)]
    """T, steps of the trajectory."""
    shift: Positive | Literal["model"]
    """s of the schedule s t / (1 + (s - 1) t); 1: even steps, 3 in the papers; `model`: the base model's own."""
    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=1000)]
    """The steps that may be stochastic; each below num_steps - 1, so that the ODE removes their noise."""
    group_size: Annotated[int, Field(ge=2, le=10_000)]
    """G, branches of one prompt that form a group and are compared with each other."""
    sde: Literal["flow", "dance", "cps"]
    """Law of a stochastic step; see g2rpo/sde.py."""
    eta: Positive
    """Noise scale of the step: 0.7 with `flow`, 0.3 with `dance`; at most 1 with `cps`."""
    micro_batch: Count
    """Rows per call of the network."""

    def windows(self, round_number: int, seed: int) -> tuple[Window, ...]:
        """Return the windows of a round: which steps are stochastic, and trained, together."""
        raise NotImplementedError

    @property
    def own_noise(self) -> bool:
        """Whether each branch of a group starts from its own noise."""
        return False

    @property
    def earliest_end(self) -> int:
        """The earliest last step of a window, over all rounds."""
        return max(self.steps)

    @model_validator(mode="after")
    def _steps_leave_room(self) -> Self:
        refuse_repeats("rollout.steps", self.steps)
        last = self.num_steps - 2
        if max(self.steps) > last:
            raise ValueError(
                f"rollout.steps: each step must be at most num_steps - 2 = {last}, so that the ODE removes its "
                f"noise; got {max(self.steps)}. Lower it or raise rollout.num_steps."
            )
        if self.sde == "cps" and self.eta > 1:
            raise ValueError(f"rollout.eta: at most 1 with sde cps, got {self.eta}. Lower it, as to 0.7.")
        return self


class G2rpoParams(_RolloutParams):
    """G²RPO (arXiv:2510.01982): at each of the steps, branches leave the single ODE trajectory of the prompt."""

    method: Literal["g2rpo"]
    """One window of one step for each of `steps`, which is M."""
    steps_a_round: Count | None
    """Number of steps of M at which a round branches, drawn anew for each round; null: all."""
    step_weights: Annotated[tuple[Positive, ...], Field(max_length=1000)] | None
    """Weight of each of `steps` in that draw, such as the spread that `g2rpo signal` reports there; null: uniform."""

    def windows(self, round_number: int, seed: int) -> tuple[Window, ...]:
        """Return a window of one step for each step of M, or for each drawn step."""
        count = self.steps_a_round or len(self.steps)
        drawn = drawn_steps(self.steps, count=count, weights=self.step_weights, round_number=round_number, seed=seed)
        return one_step_windows(drawn)

    @property
    def earliest_end(self) -> int:
        """The earliest last step of a window, over all rounds."""
        return min(self.steps)

    @model_validator(mode="after")
    def _draw_is_possible(self) -> Self:
        if (self.steps_a_round or 1) > len(self.steps):
            raise ValueError(
                f"rollout.steps_a_round: at most the {len(self.steps)} steps of rollout.steps is required, got "
                f"{self.steps_a_round}. Lower it, or name more steps."
            )
        if self.step_weights is not None and len(self.step_weights) != len(self.steps):
            raise ValueError(
                f"rollout.step_weights: one weight for each of the {len(self.steps)} steps of rollout.steps is "
                f"required, got {len(self.step_weights)}. Name as many, or set null."
            )
        if self.step_weights is not None and self.steps_a_round is None:
            raise ValueError(
                "rollout.step_weights: null is required if rollout.steps_a_round is null, since no steps are drawn; "
                f"got {list(self.step_weights)}. Set rollout.steps_a_round, or set rollout.step_weights to null."
            )
        return self


class _TrajectoryParams(_RolloutParams):
    """Methods with one window per round."""

    initial_noise: Literal["shared", "own"]
    """Whether the branches of a group start from the same noise, or each from its own."""

    @property
    def own_noise(self) -> bool:
        """Whether each branch of a group starts from its own noise."""
        return self.initial_noise == "own"


class MixGrpoParams(_TrajectoryParams):
    """MixGRPO (arXiv:2507.21802): one window slides over the steps from round to round."""

    method: Literal["mix_grpo"]
    """One window of `window_size` of `steps`."""
    window_size: Count
    """w, stochastic steps; 4 of 25 in the paper."""
    window_stride: Count
    """s, steps by which the window moves; 1 in the paper."""
    window_interval: Count
    """tau, rounds between two moves; 25 in the paper."""
    window_schedule: Literal["progressive", "random"]
    """`progressive`: from noise to picture and back to the start; `random`: any position."""

    def windows(self, round_number: int, seed: int) -> tuple[Window, ...]:
        """Return the window of a round."""
        return sliding_window(
            sorted(self.steps),
            size=self.window_size,
            stride=self.window_stride,
            interval=self.window_interval,
            schedule=self.window_schedule,
            round_number=round_number,
            seed=seed,
        )

    @property
    def earliest_end(self) -> int:
        """The earliest last step of a window, over all rounds."""
        return sorted(self.steps)[self.window_size - 1]

    @model_validator(mode="after")
    def _window_fits(self) -> Self:
        if self.window_size > len(self.steps):
            raise ValueError(
                f"rollout.window_size: at most the {len(self.steps)} steps of rollout.steps is required, got "
                f"{self.window_size}. Lower it, or name more steps."
            )
        return self


class WholeTrajectoryParams(_TrajectoryParams):
    """Flow-GRPO (arXiv:2505.05470) and DanceGRPO (arXiv:2505.07818): all of the steps are stochastic.

    They differ in their other parameters: presets/methods has both as published.
    """

    method: Literal["flow_grpo", "dance_grpo"]
    """One window of all of `steps`."""

    def windows(self, round_number: int, seed: int) -> tuple[Window, ...]:
        """Return one window of all steps."""
        return whole_window(self.steps)


RolloutParams = Annotated[G2rpoParams | MixGrpoParams | WholeTrajectoryParams, Field(discriminator="method")]
