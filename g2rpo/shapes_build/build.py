"""The build of the embedded world's weights: base model, judges, figures, and the log that proves them."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from g2rpo.policies.shapes import ShapesPolicy
from g2rpo.rewards.shapes import RULES, JudgeReward, RuleReward
from g2rpo.shapes.base import save_base
from g2rpo.shapes.captions import SPLITS
from g2rpo.shapes.judges import load_judge, save_judge
from g2rpo.shapes_build.digests import digest_file, fingerprint
from g2rpo.shapes_build.figures import base_figures, truth_figures
from g2rpo.shapes_build.train_base import BaseRecipe, threads_and_seed, train_base
from g2rpo.shapes_build.train_judges import JUDGE_RECIPES, JudgeRecipe, train_judge

LOG_NAME = "build.json"
FIGURES_SEED = 4


@dataclass(frozen=True)
class Recipes:
    """Everything that decides what the build makes.

    Example: `Recipes()` makes the shipped weights.
    """

    base: BaseRecipe = field(default_factory=BaseRecipe)
    judges: Mapping[str, JudgeRecipe] = field(default_factory=lambda: JUDGE_RECIPES)
    threads: int = 2
    repeats: int = 4  # noises for each caption in the figures
    splits: tuple[str, ...] = SPLITS  # of the figures


def build(
    out: Path,
    *,
    log: Path | None = None,
    recipes: Recipes | None = None,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train base model and judges from nothing, write their weights in fp16 and a log, and return the log.

    The folder then holds `base/transformer/` in the format of diffusers, `base/words.safetensors`,
    `judge_a.safetensors`, `judge_b.safetensors`; the log goes to `log`, or to `build.json` beside them. It is
    the same bit for bit on one machine and library set, and takes about ten minutes on two cores.

    Args:
        out: Folder to write to; it is made if it does not exist.
        log: Where to write the log.
        recipes: What to make; the shipped recipes if not given.
        report: Takes a line of progress, about every fifteen seconds.
    """
    recipes = recipes or Recipes()
    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    base, base_record = train_base(recipes.base, threads=recipes.threads, report=report)
    save_base(base, out / "base", dtype=torch.float16)
    records: dict[str, Any] = {"base": base_record}
    for name, recipe in recipes.judges.items():
        judge, records[name] = train_judge(recipe, threads=recipes.threads, report=report)
        save_judge(judge, out / f"{name}.safetensors")
    with threads_and_seed(recipes.threads, FIGURES_SEED):
        machine = fingerprint()
        table = figures_of(out, recipes)
    weights = sorted(path for path in out.rglob("*") if path.suffix == ".safetensors" or path.name == "config.json")
    record = {
        "fingerprint": machine,
        "figures": table,
        "weights": {path.relative_to(out).as_posix(): digest_file(path) for path in weights},
        "seconds": time.perf_counter() - start,
        **records,
    }
    log = out / LOG_NAME if log is None else log
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


def figures_of(folder: Path, recipes: Recipes) -> dict[str, dict[str, float]]:
    """Return the table of figures of the weights in a folder, as they are after rounding to fp16."""
    judges = [JudgeReward(name, load_judge(name, folder=folder)) for name in recipes.judges]
    rewards = [*judges, *map(RuleReward, RULES)]
    policy = ShapesPolicy.load(folder / "base")
    settings = {"repeats": recipes.repeats, "seed": FIGURES_SEED}
    return {
        **base_figures(policy, rewards, splits=recipes.splits, **settings),
        **truth_figures(rewards, **settings),
    }
