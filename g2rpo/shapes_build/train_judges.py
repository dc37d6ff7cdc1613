"""Training of the judges: pictures and captions that belong together attract, near misses repel."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from g2rpo.shapes.captions import captions, scene_of, tokens
from g2rpo.shapes.judges import Judge, new_judge
from g2rpo.shapes.renderer import render
from g2rpo.shapes_build.digests import digest_bytes
from g2rpo.shapes_build.near_misses import near_misses
from g2rpo.shapes_build.train_base import threads_and_seed


@dataclass(frozen=True)
class JudgeRecipe:
    """How a judge is trained.

    Example: `JUDGE_RECIPES["judge_a"]`.
    """

    name: str
    seed: int
    num_steps: int
    learning_rate: float
    noise: float  # largest standard deviation of the pixel noise, in units of the picture's range
    fade: float  # largest share by which a picture is mixed with the mean of its neighbours
    batch_size: int = 128
    num_near_misses: int = 8  # for each picture
    warmup_steps: int = 50
    temperature: float = 0.07  # by which cosines are divided
    weight_decay: float = 0.01


JUDGE_RECIPES = {
    "judge_a": JudgeRecipe("judge_a", seed=7, num_steps=1200, learning_rate=2e-3, noise=0.1, fade=0.0),
    "judge_b": JudgeRecipe("judge_b", seed=1009, num_steps=1200, learning_rate=1e-3, noise=0.05, fade=0.5),
}


@dataclass(frozen=True)
class JudgeBatch:
    """The data of one step: pictures (n, 3, 16, 16), captions, near misses (n, k) and which captions are alike.

    Example: `judge_batch(JUDGE_RECIPES["judge_a"], 0)`.
    """

    images: Tensor
    texts: tuple[str, ...]
    misses: tuple[tuple[str, ...], ...]
    same_things: Tensor


def judge_batch(recipe: JudgeRecipe, step: int) -> JudgeBatch:
    """Return the batch of a step, which depends on seed and step alone; no caption comes twice in it."""
    rng = np.random.default_rng((recipe.seed, step))
    everything = captions("all")
    texts = tuple(everything[i] for i in rng.permutation(len(everything))[: recipe.batch_size])
    scenes = [scene_of(text) for text in texts]
    pictures = render(scenes, rng).astype(np.float32) / 255
    strength = rng.uniform(0, recipe.noise, (len(texts), 1, 1, 1)).astype(np.float32)
    noise = rng.standard_normal(pictures.shape, dtype=np.float32)
    fade = torch.from_numpy(rng.uniform(0, recipe.fade, (len(texts), 1, 1, 1)).astype(np.float32))
    images = torch.from_numpy(pictures + strength * noise).permute(0, 3, 1, 2)
    smooth = functional.avg_pool2d(functional.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    images = (images + fade * (smooth - images)).clamp(0, 1)
    misses = tuple(tuple(_draw(text, rng) for _ in range(recipe.num_near_misses)) for text in texts)
    things = [tuple(sorted(scene.things)) for scene in scenes]
    same = torch.tensor([[one == two for two in things] for one in things])
    return JudgeBatch(images=images, texts=texts, misses=misses, same_things=same)


def _draw(text: str, rng: np.random.Generator) -> str:
    groups = near_misses(text)
    group = groups[rng.integers(len(groups))]
    return group[rng.integers(len(group))]


def contrastive_loss(judge: Judge, batch: JudgeBatch, temperature: float) -> Tensor:
    """Return the mean of both directions of InfoNCE, with near misses among the captions of each picture.

    Captions of the same things in another place are left out unless they are among the near misses, because
    "and" is true of both.
    """
    number = len(batch.texts)
    pictures = functional.normalize(judge.see(batch.images), dim=1)
    texts = functional.normalize(judge.read(torch.tensor(tokens(batch.texts))), dim=1)
    flat = [text for row in batch.misses for text in row]
    near = functional.normalize(judge.read(torch.tensor(tokens(flat))), dim=1).reshape(number, -1, texts.shape[1])
    alike = batch.same_things & ~torch.eye(number, dtype=torch.bool)
    cosine = (pictures @ texts.T / temperature).masked_fill(alike, -math.inf)
    wrong = torch.einsum("nd,nkd->nk", pictures, near) / temperature
    target = torch.arange(number)
    by_picture = functional.cross_entropy(torch.cat([cosine, wrong], dim=1), target)
    return (by_picture + functional.cross_entropy(cosine.T, target)) / 2


def train_judge(
    recipe: JudgeRecipe, *, threads: int, report: Callable[[str], None] = lambda line: None
) -> tuple[Judge, dict[str, Any]]:
    """Return a trained judge and the record of its training: recipe, losses (means of 20 steps), seconds."""
    with threads_and_seed(threads, recipe.seed):
        judge = new_judge(recipe.name).train()
        optimizer = torch.optim.AdamW(judge.parameters(), lr=1.0, weight_decay=recipe.weight_decay)
        losses: list[float] = []
        start, cpu_start = time.perf_counter(), time.process_time()
        for step in range(recipe.num_steps):
            fall = 0.5 * (1 + math.cos(math.pi * step / recipe.num_steps))
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * min(1.0, (step + 1) / recipe.warmup_steps) * fall
            loss = contrastive_loss(judge, judge_batch(recipe, step), recipe.temperature)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(judge.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
            if (step + 1) % 100 == 0:
                recent = math.fsum(losses[-100:]) / 100
                report(f"{recipe.name} step {step + 1}: loss {recent:.4f}, {time.perf_counter() - start:.0f} s")
        record = {
            "recipe": asdict(recipe),
            "data": digest_bytes("\n".join(judge_batch(recipe, step).texts).encode() for step in range(3)),
            "losses": [math.fsum(losses[i : i + 20]) / len(losses[i : i + 20]) for i in range(0, len(losses), 20)],
            "seconds": time.perf_counter() - start,
            "cpu_seconds": time.process_time() - cpu_start,
        }
    return judge.eval().requires_grad_(False), record
