"""Both sides of the policy benchmark on one device: the engine's phases, and the published loop call by call."""

import argparse
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from flops import clock
from published_loop import Plan, published_loop
from random_policy import MODELS, make_condition, make_policy, make_scorer
from torch import Tensor

from g2rpo.optimise import Sites, UpdateRule, old_log_probs, optimise
from g2rpo.policies.compute import Compute
from g2rpo.sampler import Anchor, Branched, anchor_trajectory, branch, complete
from g2rpo.trainer import OptimizerSettings, Trainer
from g2rpo.velocity import VelocityField

_RECIPE = OptimizerSettings(
    learning_rate=2e-6, betas=(0.9, 0.999), weight_decay=1e-4, max_grad_norm=1.0, ema_decay=None
)
_CLIP_RANGE = 1e-4
_TEXT = "a red circle over a blue square"
_BETWEEN_CLOCKS = 8  # calls of the published loop; reading the clock waits for the device
Result = TypeVar("Result")


@dataclass(frozen=True)
class Measured:
    """Cost of a piece of work: seconds, bytes at the peak, evaluations (a row forward is 1, with its backward 3)."""

    seconds: float
    peak: int
    evaluations: int


class Sides:
    """One model, one scorer and one trainer, and the work of both sides on them."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.model = args, MODELS[args.policy, args.size]
        self.device, self.dtype = torch.device(args.device), getattr(torch, args.dtype)
        self.plan = Plan(args.num_steps, args.steps, args.group_size, args.granularities)
        compute = Compute(
            device=self.device,
            dtype=self.dtype,
            decode_batch=args.decode_batch,
            gradient_checkpointing=True,
            attention=args.attention,
            compile=args.compile,
            quantise=None,
        )
        self.policy = make_policy(self.model, compute, height=args.height, width=args.width, lora_rank=args.lora_rank)
        self.scorer = make_scorer(self.model, device=self.device)
        self.condition = make_condition(self.model, args.prompts, device=self.device, dtype=self.dtype)
        rows = [(p, k) for p in range(args.prompts) for k in args.steps for _ in range(args.group_size)]
        self.prompt, self.step = torch.tensor(rows, device=self.device).unbind(1)
        self.field = VelocityField(self.policy, args.micro_batch[0], self.dtype)
        self._learner = VelocityField(self.policy, args.update_micro_batch, self.dtype)
        self._base = VelocityField(self.policy, args.update_micro_batch, self.dtype, base=self.policy.adapted)
        self._one = VelocityField(self.policy, 1, self.dtype)
        self._trainer: Trainer | None = Trainer(self.policy.module, _RECIPE)
        self.no_update: str | None = None
        self._published: Iterator[Tensor] = iter(())
        self._now = clock(self.device)

    def noise(self, rows: int) -> Tensor:
        return torch.randn(rows, *self.policy.latent_shape, device=self.device)

    def measure(self, work: Callable[[], Result]) -> tuple[Result, Measured]:
        """Do a piece of work; on the CPU the peak is that of the process until now."""
        cuda = self.device.type == "cuda"
        if cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        before, began = self._evaluations(), self._now()
        result = work()
        seconds = self._now() - began
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if cuda:
            peak = torch.cuda.max_memory_allocated(self.device)
        return result, Measured(seconds, peak, self._evaluations() - before)

    def _evaluations(self) -> int:
        return sum(field.evaluations for field in (self.field, self._learner, self._base, self._one))

    def warm(self) -> None:
        """Do each kind of call once, so that compilation and the libraries' choice of kernels are over."""
        self.published(seconds=1e-3)
        self.pictures(self.noise(self.args.decode_batch), self.args.decode_batch)
        rows = min(self.args.update_micro_batch, self.args.prompts * len(self.plan.steps))
        owner = torch.zeros(rows, dtype=torch.int64, device=self.device)
        inputs = self.noise(rows), torch.full((rows,), 0.5, device=self.device), self.condition.take(owner)
        try:
            self._learner.with_gradient(*inputs).square().mean().backward()
        except torch.OutOfMemoryError as error:
            self._without_update(error)
        self.policy.module.zero_grad(set_to_none=True)

    def call(self, rows: int) -> Measured:
        """Measure one call of the engine's network."""
        inputs = self.noise(rows), torch.full((rows,), 0.5, device=self.device)
        owner = torch.zeros(rows, dtype=torch.int64, device=self.device)
        self.field.micro_batch = rows
        return self.measure(lambda: self.field(*inputs, self.condition, owner))[1]

    def rollout(self) -> tuple[Anchor, Branched]:
        """Follow the anchors to the last branching step and branch, as the stage does."""
        visited, start = max(self.plan.steps) + 1, self.noise(self.args.prompts)
        anchor = anchor_trajectory(self.field, start, self.condition, sigmas=self.plan.sigmas, num_visited=visited)
        shared = anchor.latents[self.step, self.prompt], anchor.velocity[self.step, self.prompt]
        eps = self.noise(len(self.step))
        plan = self.plan
        return anchor, branch(*shared, eps, step=self.step, sigmas=plan.sigmas, sde="flow", eta=plan.eta)

    def completion(self, branched: Branched) -> Tensor:
        """Return clean latents, shape (branches, granularities, ...), as the stage does."""
        return complete(
            self.field,
            branched.next_latents,
            self.condition,
            rows=self.prompt,
            starts=[k + 1 for k in self.step.tolist()],
            sigmas=self.plan.sigmas,
            granularities=self.plan.granularities,
            rule="fine_first",
        ).latents

    def update(self, anchor: Anchor, branched: Branched) -> None:
        """Train once on every site, with random advantages: forward, backward, one step."""
        assert self._trainer is not None
        group = self.plan.group_size
        first = torch.arange(0, len(self.step), group, device=self.device)
        step, prompt = self.step[first], self.prompt[first]
        sites = Sites(
            latents=anchor.latents[step, prompt],
            step=step,
            rows=prompt,
            condition=self.condition,
            site=torch.arange(len(first), device=self.device).repeat_interleave(group),
            next_latents=branched.next_latents,
            advantage=torch.randn(len(self.step), device=self.device),
        )
        rule = UpdateRule(
            sigmas=self.plan.sigmas,
            sde="flow",
            eta=self.plan.eta,
            clip_range=_CLIP_RANGE,
            kl_weight=0.0,
            cadence="iteration",
            num_minibatches=1,
            num_epochs=1,
            micro_batch=self.args.update_micro_batch,
        )
        fixed = old_log_probs(self._learner, sites, rule)
        list(optimise(self._learner, self._base, self._trainer, sites=sites, log_prob_old=fixed, rule=rule))

    def iteration(self) -> dict[str, Measured]:
        """Return the cost of each phase of one iteration of the engine; decode and score take some of the pictures."""
        (anchor, branched), rollout = self.measure(self.rollout)
        latents, completion = self.measure(lambda: self.completion(branched))
        expected = self.plan.ours * self.args.prompts * self.policy.num_forwards
        assert rollout.evaluations + completion.evaluations == expected, "The engine must cost what the plan says."
        phases = {"rollout": rollout, "completion": completion}
        phases |= self.pictures(latents.flatten(0, 1)[: self.args.pictures], self.args.decode_batch)
        del latents
        if self._trainer is not None:
            try:
                phases["update"] = self.measure(lambda: self.update(anchor, branched))[1]
            except (torch.OutOfMemoryError, AssertionError) as error:
                self._without_update(error)
        self.policy.module.zero_grad(set_to_none=True)
        return phases

    def _without_update(self, error: Exception) -> None:
        """Continue without a trainer, to keep the other measurements."""
        self._trainer, self.no_update = None, str(error).splitlines()[0]

    def pictures(self, latents: Tensor, batch: int) -> dict[str, Measured]:
        """Measure decoding and scoring of some pictures in calls of a batch."""

        def decode() -> Tensor:
            return torch.cat([self.policy.decode(part) for part in latents.split(batch)])

        def score() -> None:
            for part in images.split(batch):
                self.scorer.score(part, [_TEXT] * len(part))

        images, decoded = self.measure(decode)
        return {"decode": decoded, "score": self.measure(score)[1]}

    def published(self, seconds: float) -> tuple[int, Measured]:
        """Continue the published loop for some time; return its calls and their cost."""
        row = torch.zeros(1, dtype=torch.int64, device=self.device)
        first = self.condition.take(row)

        def velocity(latents: Tensor, sigma: Tensor) -> Tensor:
            return self._one(latents, sigma, first, row)

        def go() -> int:
            calls, began = 0, self._now()
            while self._now() - began < seconds:
                for _ in range(_BETWEEN_CLOCKS):
                    if next(self._published, None) is None:  # its end: the next prompt
                        self._published = published_loop(velocity, self.noise(1), self.plan, dtype=torch.bfloat16)
                        next(self._published)
                    calls += 1
            return calls

        return self.measure(go)
