"""The gain of Ray runners on the shapes world, and the cost of Ray for each shard.

This process, one runner and two runners, each with one thread of torch, repeat rollout, completion and scoring of one
round; the sides take turns, and ratios are medians of the ratios of each turn. The two runners are timed without
scoring ahead too. Then whole rounds: two runners that do everything, and one that samples a round ahead while the
other updates.

    python benchmarks/runners.py     prints a table, and a JSON object as its last line
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import ray
import torch
from overhead import shipped

from flows.observers.observer import Observer
from flows.runners.ray_cluster import start_here
from flows.runners.ray_executor import RayExecutor
from flows.training.loop import call_plainly
from flows.training.session import Session
from stages.contract.declared_stages import STAGES
from stages.contract.executor import StageExecutor
from stages.contract.job import Job
from stages.engine.execute import run_stage
from stages.engine.loaded_models import LoadedModels
from stages.store.run import open_run

PAINTING = ("rollout", "complete", "score")
WARM = 2  # rounds that load models and are not counted


class InOrder(RayExecutor):
    """Runners that score after all pictures are sampled."""

    def _score_ahead(self, job: Job, shard: int) -> None:
        """Wait."""


def parameters(prompts: int, *overrides: str):
    """G²RPO at T = 8 with Λ = {1, 2, 3}, two prompts per shard."""
    return shipped(
        "rollout.num_steps=8",
        "rollout.steps=[0, 1, 2, 3]",
        "rollout.group_size=12",
        "complete.granularities=[1, 2, 3]",
        f"prompts.num_prompts={prompts}",
        "prompts.shard_size=2",
        "resources.threads=1",
        *overrides,
    )


def with_runners(prompts: int, count: int):
    return parameters(prompts, "placement.runner=ray", f"placement.num_runners={count}")


def timed(executor: StageExecutor, prompts: int) -> dict[str, float]:
    """Return wall seconds of each stage, repeated."""
    params = parameters(prompts)
    run, seconds = open_run(params, device="cpu"), dict[str, float]()
    for name in PAINTING:
        began = time.perf_counter()
        done = run_stage(run, STAGES[name], 0, params, executor, force=True)
        seconds[name] = time.perf_counter() - began
        assert done.manifest
    return seconds


def turns(prompts: int, count: int) -> dict[str, list[dict[str, float]]]:
    """Return the seconds of each side in each turn, by stage."""
    params = parameters(prompts)
    here = LoadedModels(params)
    run_stage(open_run(params, device="cpu"), STAGES["prompts"], 0, params, here)
    sides: dict[str, StageExecutor] = {
        "here": here,
        "one": RayExecutor(with_runners(prompts, 1)),
        "two": RayExecutor(with_runners(prompts, 2)),
        "two, in order": InOrder(with_runners(prompts, 2)),
    }
    for executor in sides.values():
        timed(executor, prompts)
        timed(executor, prompts)  # the second runner may have come late
    seconds: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for _ in range(count):
        for name, executor in sides.items():
            seconds[name].append(timed(executor, prompts))
    for executor in sides.values():
        executor.close()
    return seconds


class Clock(Observer):
    """Notes when each round ends."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def round_finished(self, number: int, metrics: object) -> None:
        self.at.append(time.perf_counter())


def rounds(prompts: int, count: int, *overrides: str) -> list[float]:
    """Return wall seconds of each round of a new run."""
    two = ("placement.runner=ray", "placement.num_runners=2", f"run.rounds={count + WARM}", "evaluate.every=1000")
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["G2RPO_HOME"] = folder
        params = parameters(prompts, *two, *overrides)
        Session.of(params).train(call_plainly, observers=[clock], final=False, obey=False)
    return [later - earlier for earlier, later in zip(clock.at[WARM - 1 :], clock.at[WARM:], strict=False)]


def ratio(sides: dict[str, list[dict[str, float]]], one: str, other: str, names: Sequence[str] = PAINTING) -> float:
    """Return the median over the turns of the ratio of two sides' seconds."""
    total: Callable[[dict[str, float]], float] = lambda seconds: sum(seconds[name] for name in names)  # noqa: E731
    return round(median(total(a) / total(b) for a, b in zip(sides[one], sides[other], strict=True)), 3)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="The gain of Ray runners.")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=10, help="0: no comparison of whole rounds")
    args = parser.parse_args(words)
    start_here(8)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["G2RPO_HOME"] = str(Path(folder) / "store")
        sides = turns(args.prompts, args.turns)
    shards = args.prompts // 2 * len(PAINTING)
    result = {
        "prompts": args.prompts,
        "turns": args.turns,
        "torch": torch.__version__,
        "ray": ray.__version__,
        "seconds": {
            name: {stage: round(median(turn[stage] for turn in made), 3) for stage in PAINTING}
            for name, made in sides.items()
        },
        "one_over_two": ratio(sides, "one", "two"),
        "here_over_two": ratio(sides, "here", "two"),
        "in_order_over_two": ratio(sides, "two, in order", "two", ("complete", "score")),
        "overhead_seconds_a_shard": round(
            median(
                (sum(a.values()) - sum(b.values())) / shards for a, b in zip(sides["one"], sides["here"], strict=True)
            ),
            4,
        ),
    }
    if args.rounds:
        ahead = ("placement.staleness=1", "placement.update_runners=1")
        result["round_seconds"] = {
            "two": round(median(rounds(args.prompts, args.rounds)), 3),
            "two, by copies": round(median(rounds(args.prompts, args.rounds, "placement.parallel=ddp")), 3),
            "one paints ahead": round(median(rounds(args.prompts, args.rounds, *ahead)), 3),
        }
    for name, seconds in result["seconds"].items():
        print(f"{name:<16}" + "".join(f"{stage:>10} {value:.2f} s" for stage, value in seconds.items()))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
