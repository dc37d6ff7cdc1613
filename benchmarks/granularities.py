"""The cost of each set of granularities: evaluations, CPU time, memory and bytes of tables.

The stages rollout, complete and score make the same branches of the same prompts for every case; a case is a set of
granularities, T and a stride rule, and M are the first half of its steps. The cases take turns. Evaluations and bytes
are those of the manifests, and exact. CPU time is that of the stages, median and spread over the turns; the ratios are
medians of the ratio of each turn to that of granularity 1 alone at the same T and rule. Memory is the most bytes of
tensors that rollout and completion had alive at once beside the weights, counted operation by operation in a separate
pass: exact for torch, without the memory of Arrow and NumPy.

    python benchmarks/granularities.py     prints a table, and a JSON object as its last line
"""

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median

import pandas as pd
import torch
from memory import peak
from overhead import shipped

from stages.contract.declared_stages import STAGES
from stages.engine.execute import run_stage
from stages.engine.loaded_models import LoadedModels
from stages.store.run import open_run

SETS = ("1", "2", "3", "4", "1,2", "1,3", "1,2,3")
RULES = ("fine_first", "even")


@dataclass(frozen=True)
class Cost:
    """Cost of a case per prompt. Example: {1, 2} at T = 8 takes 340 evaluations for 96 pictures."""

    rule: str
    num_steps: int
    granularities: str
    pictures: int
    evaluations: int
    """Of the transformer, without gradient: rollout and completion."""
    over_finest: float
    """Ratio to granularity 1 alone."""
    cpu_seconds: float
    """Of rollout and completion, median over the turns."""
    cpu_seconds_least: float
    cpu_seconds_most: float
    cpu_over_finest: float
    score_cpu_seconds: float
    """Of scoring the pictures, median over the turns."""
    completions_bytes: int
    """Of the table, on disk."""
    peak_tensor_bytes: int
    """Of all prompts at once, as a round makes them."""


class Case:
    """One case: the stages of round 0 of a run of its own, repeated in each turn."""

    def __init__(self, rule: str, num_steps: int, granularities: str, *, prompts: int, group_size: int) -> None:
        self.rule, self.num_steps, self.granularities = rule, num_steps, granularities
        self.prompts = prompts
        self.params = shipped(
            f"complete.granularities=[{granularities}]",
            f"complete.stride_rule={rule}",
            f"rollout.num_steps={num_steps}",
            f"rollout.steps={list(range(num_steps // 2))}",
            f"rollout.group_size={group_size}",
            f"prompts.num_prompts={prompts}",
            f"prompts.shard_size={prompts}",
            "resources.threads=1",
        )
        self.resources = LoadedModels(self.params)
        self.run = open_run(self.params, device="cpu")
        self.made: list[dict[str, dict]] = []
        self._stage("prompts")
        self.round()

    def _stage(self, name: str) -> dict:
        done = run_stage(self.run, STAGES[name], 0, self.params, self.resources, force=True)
        assert done.manifest is not None
        return done.manifest

    def round(self) -> dict[str, dict]:
        return {name: self._stage(name) for name in ("rollout", "complete", "score")}

    def turn(self) -> None:
        self.made.append(self.round())

    def painting_seconds(self) -> list[float]:
        """CPU-seconds per prompt of rollout and completion, turn by turn."""
        return [sum(made[n]["cpu_seconds"] for n in ("rollout", "complete")) / self.prompts for made in self.made]

    def evaluations(self) -> int:
        """Transformer evaluations per prompt of rollout and completion."""
        spent = sum(self.made[-1][name]["evaluations"] for name in ("rollout", "complete"))
        assert spent % self.prompts == 0
        return spent // self.prompts

    def cost(self, finest: "Case") -> Cost:
        seconds, table = self.painting_seconds(), self.made[-1]["complete"]["outputs"]["completions"]
        return Cost(
            rule=self.rule,
            num_steps=self.num_steps,
            granularities=self.granularities,
            pictures=table["rows"] // self.prompts,
            evaluations=self.evaluations(),
            over_finest=round(self.evaluations() / finest.evaluations(), 3),
            cpu_seconds=round(median(seconds), 4),
            cpu_seconds_least=round(min(seconds), 4),
            cpu_seconds_most=round(max(seconds), 4),
            cpu_over_finest=round(median(a / b for a, b in zip(seconds, finest.painting_seconds(), strict=True)), 3),
            score_cpu_seconds=round(median(made["score"]["cpu_seconds"] for made in self.made) / self.prompts, 4),
            completions_bytes=table["bytes"] // self.prompts,
            peak_tensor_bytes=max(peak(partial(self._stage, name)) for name in ("rollout", "complete")),
        )


def measure(sets: Sequence[str], steps: Sequence[int], *, prompts: int, group_size: int, turns: int) -> list[Cost]:
    """Return the cost of each case; granularity 1 alone always comes first, for comparison."""
    kinds = list(product(RULES, steps))
    sets = list(dict.fromkeys(["1", *sets]))
    cases = {(*kind, s): Case(*kind, s, prompts=prompts, group_size=group_size) for kind in kinds for s in sets}
    for _ in range(turns):
        for case in cases.values():
            case.turn()
    return [case.cost(cases[rule, num_steps, "1"]) for (rule, num_steps, _), case in cases.items()]


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="The cost of each set of granularities.")
    parser.add_argument("--sets", nargs="+", default=SETS, help="Sets of granularities, as 1 1,2")
    parser.add_argument("--num-steps", nargs="+", type=int, default=(8, 16), help="Steps of the trajectory, T")
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--group-size", type=int, default=12)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--csv", type=Path, help="Write the table here too")
    args = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["G2RPO_HOME"] = str(Path(folder) / "store")
        costs = measure(args.sets, args.num_steps, prompts=args.prompts, group_size=args.group_size, turns=args.turns)
    rows = [asdict(cost) for cost in costs]
    table = pd.DataFrame(rows)
    print(table.to_string(index=False))
    if args.csv:
        args.csv.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(args.csv, index=False)
    print(json.dumps({"prompts": args.prompts, "turns": args.turns, "torch": torch.__version__, "costs": rows}))


if __name__ == "__main__":
    main()
