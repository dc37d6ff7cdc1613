"""The cost of stages, Parquet, Prefect and MLflow over a bare loop that keeps everything in memory.

Three sides do the same rounds from the same seeds: a bare loop on the functions of `g2rpo`, the plain loop over
stages, and the same loop as a Prefect flow under a real server, logged to MLflow. Imports, the load of the
models and the start of the server are outside the timers; a first round warms each side up.

    python benchmarks/overhead.py prints a JSON object as its last line
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch

ROOT = Path(__file__).parents[1]


RECIPE = (
    *("prompts.num_prompts=8", "prompts.shard_size=8", "complete.granularities=[1, 2]"),
    *("rollout.num_steps=8", "rollout.steps=[0, 1, 2, 3]", "rollout.group_size=12"),
    *("rollout.sde=flow", "rollout.eta=0.7"),
    *("update.learning_rate=1e-4", "update.warmup_rounds=0", "update.decay_rounds=null", "update.final_frac=0.0"),
)
"""Parameters of the timed rounds."""


def shipped(*overrides: str):
    from stages.params.file import load_params

    small = ["evaluate.every=1000", "evaluate.num_prompts=1", "report.num_prompts=1", "report.num_noises=1"]
    return load_params(ROOT / "params.yaml", [*small, *RECIPE, "resources.device=cpu", *overrides])


class Bare:
    """The same rounds with everything in memory: no tables, no digests, no files."""

    def __init__(self, params) -> None:
        from g2rpo.policies.shapes import ShapesPolicy
        from g2rpo.rewards.shapes import load_reward
        from g2rpo.schedule import shifted_sigmas
        from g2rpo.trainer import Trainer
        from g2rpo.velocity import VelocityField
        from stages.engine.rules import integration_rule, optimizer_settings, update_rule

        torch.set_num_threads(params.resources.threads)
        self.params = params
        self.policy, base = ShapesPolicy.load(), ShapesPolicy.load()
        base.module.requires_grad_(False)
        self.field = VelocityField(self.policy, params.rollout.micro_batch)
        self.base = VelocityField(base, params.update.micro_batch)
        self.rewards = {name: load_reward(name) for name in params.evaluate.rewards}
        self.trainer = Trainer(self.policy.module, optimizer_settings(params.update))
        self.integration = integration_rule(params.integrate, params.complete.granularities)
        self.rule = update_rule(params, 0, shifted_sigmas(params.rollout.num_steps, float(params.rollout.shift)))

    def round(self, number: int) -> None:
        from g2rpo.advantages import integrate, spread_floors, summands
        from g2rpo.optimise import Sites, old_log_probs, optimise
        from g2rpo.positions import position_seed
        from g2rpo.sampler import anchor_trajectory, branch, complete
        from g2rpo.seeding import noise
        from g2rpo.shapes.captions import captions
        from stages.texts.draws import draw, prompt_id

        params, policy = self.params, self.policy
        rollout, seed, texts = params.rollout, params.run.seed, captions(params.prompts.split)
        first = number * params.prompts.num_prompts
        drawn = [draw(len(texts), first + slot, seed) for slot in range(params.prompts.num_prompts)]
        ids = [prompt_id(params.prompts.split, *pair) for pair in drawn]
        prompt_texts = [texts[caption] for caption, _ in drawn]
        seeds = [position_seed("noise", seed, number, name) for name in ids]
        condition = policy.encode(prompt_texts)
        start = noise(seeds, policy.latent_shape)
        sigmas = self.rule.sigmas
        anchor = anchor_trajectory(self.field, start, condition, sigmas=sigmas, num_visited=max(rollout.steps) + 1)
        rows = [(p, k, b) for p in range(len(ids)) for k in rollout.steps for b in range(rollout.group_size)]
        prompt, step, _ = torch.tensor(rows).unbind(1)
        eps = noise([position_seed("branch", seeds[p], k, b, k) for p, k, b in rows], policy.latent_shape)
        branched = branch(
            anchor.latents[step, prompt],
            anchor.velocity[step, prompt],
            eps,
            step=step,
            sigmas=sigmas,
            sde=rollout.sde,
            eta=rollout.eta,
        )
        done = complete(
            self.field,
            branched.next_latents,
            condition,
            rows=prompt,
            starts=[k + 1 for _, k, _ in rows],
            sigmas=sigmas,
            granularities=params.complete.granularities,
            rule=params.complete.stride_rule,
        )
        each = len(params.complete.granularities)
        picture_texts = [prompt_texts[p] for p, _, _ in rows for _ in range(each)]
        scored = self.rewards["judge_a"].score(policy.decode(done.latents.flatten(0, 1)), picture_texts).double()
        groups = scored.reshape(-1, rollout.group_size, each)
        values = [
            {("judge_a", g): group[:, i] for i, g in enumerate(self.integration.granularity_weights)}
            for group in groups
        ]
        floors = spread_floors(values, self.integration)
        advantage = torch.stack(
            [
                integrate(summands(group, self.integration, floors).values(), clamp=params.integrate.clamp).advantage
                for group in values
            ]
        )
        site = torch.arange(0, len(rows), rollout.group_size)
        sites = Sites(
            latents=anchor.latents[step[site], prompt[site]],
            step=step[site],
            rows=prompt[site],
            condition=condition,
            site=torch.arange(len(site)).repeat_interleave(rollout.group_size),
            next_latents=branched.next_latents,
            advantage=advantage.float().flatten(),
        )
        fixed = old_log_probs(self.field, sites, self.rule)
        list(optimise(self.field, self.base, self.trainer, sites=sites, log_prob_old=fixed, rule=self.rule))

    def judge(self, params) -> None:
        """Sample and score the held-out prompts, as the loop over stages does at the end of a run."""
        from g2rpo.sampler import complete
        from g2rpo.seeding import noise
        from stages.texts.held_out import held_out

        prompts = held_out(params)
        start = noise(prompts.seeds, self.policy.latent_shape)
        done = complete(
            self.field,
            start,
            self.policy.encode(prompts.texts),
            rows=torch.arange(len(start)),
            starts=[0] * len(start),
            sigmas=self.rule.sigmas,
            granularities=[1],
            rule="even",
        )
        images = self.policy.decode(done.latents[:, 0])
        for name in params.evaluate.rewards:
            self.rewards[name].score(images, prompts.texts)

    def go_on(self, first: int, rounds: int) -> None:
        """Do some rounds, and evaluate as often as the loop over stages does."""
        from stages.params.record import for_report

        for number in range(first, first + rounds):
            self.round(number)
        for params in (self.params, for_report(self.params)):
            self.judge(params)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU seconds of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def compare(folder: Path) -> dict[str, object]:
    """Return the ratios; each is the median over segments in which the two sides take turns."""
    from flows.common.processes import quiet_environment
    from flows.prefect_flows.own_server import prefect_server

    os.environ.update(quiet_environment(folder / "prefect"))
    with prefect_server(folder / "prefect") as server:
        os.environ |= server
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        bare_cpu, plain_cpu = plain_segments()
        bare_wall, flow_wall = orchestrated_segments()
        APILogWorker.drain_all()
        EventsWorker.drain_all()
    return {
        "ratio": round(median(p / b for b, p in zip(bare_cpu, plain_cpu, strict=True)), 3),
        "ratio_orchestrated": round(median(f / b for b, f in zip(bare_wall, flow_wall, strict=True)), 3),
        "bare_cpu_seconds_a_round": [round(seconds, 3) for seconds in bare_cpu],
        "plain_cpu_seconds_a_round": [round(seconds, 3) for seconds in plain_cpu],
        "bare_wall_seconds_a_round": [round(seconds, 3) for seconds in bare_wall],
        "orchestrated_wall_seconds_a_round": [round(seconds, 3) for seconds in flow_wall],
    }


def plain_segments(segments: int = 7, rounds: int = 4) -> tuple[list[float], list[float]]:
    """Return CPU-seconds per round, bare and plain; both end with equal weights."""
    from flows.guards.watch import Guards
    from flows.observers.observer import Observers
    from flows.training.loop import Loop, call_plainly
    from flows.training.session import Session

    first = shipped("run.rounds=1")
    bare, plain = Bare(first), Session.of(first)

    def stages_to(count: int) -> None:
        params = shipped(f"run.rounds={count}")
        loop = Loop(plain.run, params, plain.executor, call_plainly, Observers([]), Guards(plain.run, params))
        loop.train()
        loop.evaluate_finally()

    bare.go_on(0, 1)
    stages_to(1)
    sides: tuple[list[float], list[float]] = ([], [])
    for done in range(1, segments * rounds + 1, rounds):
        sides[0].append(timed(partial(bare.go_on, done, rounds))[1] / rounds)
        sides[1].append(timed(partial(stages_to, done + rounds))[1] / rounds)
    same_weights(bare, plain.run.policy_folder(segments * rounds + 1))
    return sides


def same_weights(bare: Bare, folder: Path) -> None:
    """Assert that a stored policy holds the weights of the bare loop, bit for bit."""
    from stages.disk.policy_files import read_weights

    stored, own = read_weights(folder, averaged=False), bare.trainer.weights()
    assert all(torch.equal(stored[name], own[name]) for name in own), "Both loops must learn the same."


def orchestrated_segments(segments: int = 3, rounds: int = 10) -> tuple[list[float], list[float]]:
    """Return wall seconds per round, bare and as a Prefect flow with MLflow, the start of the flow included."""
    from flows.prefect_flows.train import train_flow
    from flows.training.session import Session

    os.environ["G2RPO_HOME"] += "-orchestrated"
    first = shipped("run.rounds=1")
    bare, run = Bare(first), Session.of(first).run

    def flow_to(count: int) -> None:
        train_flow(run.key, shipped(f"run.rounds={count}").model_dump(mode="json"))

    bare.go_on(0, 1)
    flow_to(1)
    sides: tuple[list[float], list[float]] = ([], [])
    for done in range(1, segments * rounds + 1, rounds):
        sides[0].append(timed(partial(bare.go_on, done, rounds))[0] / rounds)
        sides[1].append(timed(partial(flow_to, done + rounds))[0] / rounds)
    same_weights(bare, run.policy_folder(segments * rounds + 1))
    return sides


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["G2RPO_HOME"] = str(Path(folder) / "store")
        os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "WARNING"
        print(json.dumps(compare(Path(folder))))


if __name__ == "__main__":
    main()
