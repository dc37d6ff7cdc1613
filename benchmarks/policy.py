"""A policy of real size with random weights on this machine's device: speed, utilisation, memory, published loop.

Both sides take turns under the same attention and compile settings: half of the published loop's time, one whole
iteration of the engine, the other half. The published loop continues where it stopped; its seconds per call are
multiplied by the exact number of its calls, and the output says how many were timed. Decoding and scoring are timed on
some pictures, ours in batches and theirs one by one, and multiplied likewise. The update is timed on our side and
charged to both. Texts are not encoded: their embeddings are random. Seconds are wall time, on the CPU process time.

    python benchmarks/policy.py --policy flux1 --size 12b --random    prints a JSON object as its last line
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # at import it warns of torchvision, which is not needed

import torch
from flops import data_sheet_peak, matmul_rate
from policy_sides import Measured, Sides
from random_policy import MODELS

GIB = 2**30
TRANSFORMER = ("rollout", "completion", "update")  # the phases whose work is the transformer's


@dataclass(frozen=True)
class Turn:
    """The results of one turn: its matmul rate, our phases, and seconds of one prompt's iteration by phase."""

    matmul: float
    phases: dict[str, Measured]
    ours: dict[str, float]
    published: dict[str, float]
    calls: int
    published_peak: int


def say(text: str) -> None:
    print(text, flush=True)


def choose_micro_batch(sides: Sides) -> dict[int, float]:
    """Take the fastest of the micro-batches that fit, and return their evaluations per second."""
    rates: dict[int, float] = {}
    for rows in sides.args.micro_batch:
        try:
            first, *timed = (sides.call(rows) for _ in range(3))
        except torch.OutOfMemoryError:
            say(f"micro-batch {rows}: does not fit the device")
            break
        rates[rows] = first.evaluations / max(median(one.seconds for one in timed), 1e-9)
        say(f"micro-batch {rows}: {rates[rows]:.2f} evaluations/s, peak {timed[-1].peak / GIB:.1f} GiB")
    if not rates:
        raise SystemExit(f"No micro-batch of {sides.args.micro_batch} fits the device. Give a smaller --micro-batch.")
    sides.field.micro_batch = max(rates, key=lambda rows: rates[rows])
    return rates


def turn(sides: Sides) -> Turn:
    plan, args = sides.plan, sides.args
    matmul = matmul_rate(sides.device, sides.dtype, seconds=args.matmul_seconds)
    before = sides.published(args.seconds / 2)
    phases = sides.iteration()
    halves = [before, sides.published(args.seconds / 2)]
    calls, spent = sum(calls for calls, _ in halves), sum(took.seconds for _, took in halves)
    single = min(args.pictures, 4)
    alone = sides.pictures(sides.noise(single), 1)
    timed = min(args.pictures, plan.pictures * args.prompts)
    ours = {name: phases[name].seconds / args.prompts for name in ("rollout", "completion")}
    ours |= {name: phases[name].seconds / timed * plan.pictures for name in alone}
    published = {"rollout and completion": spent / calls * plan.published}
    published |= {name: alone[name].seconds / single * plan.pictures for name in alone}
    if "update" in phases:
        ours["update"] = published["update"] = phases["update"].seconds / args.prompts
    return Turn(matmul, phases, ours, published, calls, max(took.peak for _, took in halves))


def utilisation(sides: Sides, found: Turn, phase: str) -> float:
    """Return the transformer's operations per second in a phase over the matmul rate of the same turn.

    An update of all weights does 3 forwards' work per site, as `VelocityField` counts it; of an adapter 2, since frozen
    weights need no gradient. The base, for the KL, is one more at the sites of the first micro-batch.
    What checkpointing computes again does not count.
    """
    measured = found.phases[phase]
    work = measured.evaluations
    if phase == "update" and sides.policy.adapted:
        work -= sides.args.prompts * len(sides.plan.steps) * sides.policy.num_forwards
    return work * operations(sides) / measured.seconds / found.matmul


def operations(sides: Sides) -> int:
    return sides.model.flops(sides.args.height, sides.args.width)


def report(sides: Sides, turns: Sequence[Turn], rates: dict[int, float]) -> dict[str, Any]:
    """Return the medians over the turns."""
    args, plan, flops, rows = sides.args, sides.plan, operations(sides), sides.policy.num_forwards
    cuda = sides.device.type == "cuda"
    peak, matmul = data_sheet_peak(sides.device), median(t.matmul for t in turns)
    phases: dict[str, dict[str, float | None]] = {}
    for name in turns[-1].ours:
        phases[name] = {
            "seconds_a_prompt": round(median(t.ours[name] for t in turns), 4),
            "peak_gib": round(max(t.phases[name].peak for t in turns) / GIB, 3),
        }
        if name in TRANSFORMER:
            speed = median(t.phases[name].evaluations / t.phases[name].seconds for t in turns)
            used = median(utilisation(sides, t, name) for t in turns)
            phases[name] |= {"evaluations_a_second": round(speed, 3), "of_matmul_rate": round(used, 4)}
            phases[name]["of_data_sheet"] = round(used * matmul / (peak * 1e12), 4) if peak else None
    loop = [t.published["rollout and completion"] for t in turns]
    calls = sum(t.calls for t in turns)
    ratios = [t.published["rollout and completion"] / (t.ours["rollout"] + t.ours["completion"]) for t in turns]
    whole = [sum(t.published.values()) / sum(t.ours.values()) for t in turns]
    return {
        "policy": f"{args.policy}-{args.size}",
        "device": torch.cuda.get_device_name(sides.device) if cuda else "cpu",
        "settings": {
            name: getattr(args, name)
            for name in ("height", "width", "dtype", "attention", "compile", "lora_rank", "prompts", "group_size")
        },
        "micro_batch": sides.field.micro_batch,
        "evaluations_a_second_by_micro_batch": {str(size): round(rate, 3) for size, rate in rates.items()},
        "evaluations_engine": plan.ours * rows,
        "evaluations_published": plan.published * rows,
        "tflop_an_evaluation": flops / 1e12,
        "matmul_tflops": round(matmul / 1e12, 4),
        "data_sheet_tflops": peak,
        "phases": phases,
        "no_update": sides.no_update,
        "published": {
            "seconds_a_prompt": {
                name: round(median(t.published[name] for t in turns), 4) for name in turns[0].published
            },
            "calls_timed": calls,
            "calls_a_prompt": plan.published,
            "extrapolated": calls < plan.published,
            "of_matmul_rate": round(
                median(plan.published * rows * flops / s / t.matmul for s, t in zip(loop, turns, strict=True)), 4
            ),
            "peak_gib": round(max(t.published_peak for t in turns) / GIB, 3),
        },
        "ratio_evaluations": round(median(ratios), 3),
        "ratio_iteration": round(median(whole), 3),
        "ratios_by_turn": [round(ratio, 3) for ratio in ratios],
        "torch": torch.__version__,
    }


def show(result: dict[str, Any]) -> None:
    say(f"\n{'phase':24}{'s/prompt':>12}{'published':>12}{'eval/s':>10}{'of matmul':>11}{'peak GiB':>10}")
    theirs = result["published"]["seconds_a_prompt"]
    for name, phase in result["phases"].items():
        cells = [phase["seconds_a_prompt"], theirs.get(name), *(phase.get(k) for k in ("evaluations_a_second",))]
        used = phase.get("of_matmul_rate")
        texts = ["" if cell is None else f"{cell:.4g}" for cell in cells]
        share = "" if used is None else f"{100 * used:.1f} %"
        say(f"{name:24}{texts[0]:>12}{texts[1]:>12}{texts[2]:>10}{share:>11}{phase['peak_gib']:>10.2f}")
    loop = result["published"]
    share = f"{100 * loop['of_matmul_rate']:.1f} %"
    cell = f"{theirs['rollout and completion']:.4g}"
    say(f"{'rollout and completion':24}{'':>12}{cell:>12}{'':>10}{share:>11}{loop['peak_gib']:>10.2f}")
    how = "extrapolated from" if loop["extrapolated"] else "from"
    say(f"The published loop: {how} {loop['calls_timed']} timed calls, {loop['calls_a_prompt']} per prompt.")
    if "update" not in result["phases"]:
        say(f"No update, on neither side: {result['no_update']}")
    say(
        f"Published / engine: {result['ratio_evaluations']:.2f} for rollout and completion, "
        f"{result['ratio_iteration']:.2f} for the whole iteration."
    )


def steps(text: str) -> tuple[int, ...]:
    """Return the numbers of "0..7" or of "0,2,4"."""
    if ".." in text:
        first, last = map(int, text.split(".."))
        return tuple(range(first, last + 1))
    return tuple(map(int, text.split(",")))


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--policy", choices=("flux1", "sd3"), required=True)
    parser.add_argument("--size", choices=("12b", "2.5b", "tiny"), required=True)
    parser.add_argument("--random", action="store_true", required=True, help="random weights: the only ones so far")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--height", type=int, help="pixels: 720 of flux1, 1024 of sd3, 32 of tiny ones")
    parser.add_argument("--width", type=int)
    parser.add_argument("--prompts", type=int, default=1)
    parser.add_argument("--group-size", type=int, default=12)
    parser.add_argument("--num-steps", type=int, default=16)
    parser.add_argument("--steps", type=steps, default=tuple(range(8)))
    parser.add_argument("--granularities", type=steps, default=(1, 2, 3))
    parser.add_argument("--micro-batch", type=steps, default=(4, 8, 16, 32), help="sizes to try, for the fastest")
    parser.add_argument("--update-micro-batch", type=int, default=2)
    parser.add_argument("--decode-batch", type=int, default=4)
    parser.add_argument("--pictures", type=int, default=16, help="pictures to decode and score in a turn")
    parser.add_argument("--attention", default="native")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--lora-rank", type=int, default=32, help="0: all weights are trained, in fp32")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="of the published loop in a turn")
    parser.add_argument("--matmul-seconds", type=float, default=2.0)
    parser.add_argument(
        "--limit", type=float, default=float("inf"), help="seconds by which the last turn is expected to end"
    )
    args = parser.parse_args(words)
    if (args.policy, args.size) not in MODELS:
        parser.error(
            f"--size: one of {', '.join(s for p, s in MODELS if p == args.policy)} is required, got {args.size}"
        )
    side = MODELS[args.policy, args.size].side
    args.height, args.width = args.height or side, args.width or side
    return args


def main(words: Sequence[str] | None = None) -> dict[str, Any]:
    began = time.monotonic()
    args = arguments(words)
    torch.manual_seed(0)
    sides = Sides(args)
    say(f"{args.policy}-{args.size} on {sides.device}: {operations(sides) / 1e12:.4g} TFLOP an evaluation")
    rates = choose_micro_batch(sides)
    sides.warm()
    turns: list[Turn] = []
    while len(turns) < args.turns:
        since = time.monotonic()
        turns.append(turn(sides))
        say(f"turn {len(turns)}: {time.monotonic() - since:.0f} s, {turns[-1].calls} calls of the published loop")
        if 2 * time.monotonic() - since - began > args.limit:
            break
    result = report(sides, turns, rates)
    show(result)
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    main()
