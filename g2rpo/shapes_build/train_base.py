"""Training of the base model by flow matching, from nothing and the same every time."""

import math
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from g2rpo.shapes.base import BaseModel, flux_velocity, new_base, to_latents
from g2rpo.shapes.captions import captions, scene_of, tokens
from g2rpo.shapes.renderer import Pictures, render
from g2rpo.shapes_build.digests import digest_bytes, digest_state, fingerprint


@dataclass(frozen=True)
class BaseRecipe:
    """How the base model is trained.

    Example: `BaseRecipe()` is the shipped recipe, `BaseRecipe(num_steps=50)` has another schedule, it is not its start.
    """

    seed: int = 20251
    num_steps: int = 2400
    batch_size: int = 96
    learning_rate: float = 2e-3
    beta2: float = 0.98
    weight_decay: float = 0.01
    warmup_steps: int = 100
    decay_frac: float = 0.4  # of the steps, at the end
    final_frac: float = 0.02  # of the learning rate, at the last step
    ema: float = 0.998
    uniform_frac: float = 0.3  # of the noise levels; the others are logit-normal
    max_grad_norm: float = 1.0
    checkpoint_step: int = 50  # after which digest and loss are recorded


@dataclass(frozen=True)
class Batch:
    """The data of one step: pictures (n, 16, 16, 3) as bytes, their captions, noise and noise levels.

    Example: `base_batch(BaseRecipe(), 0)`.
    """

    pictures: Pictures
    texts: tuple[str, ...]
    noise: Tensor
    sigma: Tensor


def base_batch(recipe: BaseRecipe, step: int) -> Batch:
    """Return the batch of a step; it depends on the seed and the step alone. No picture is seen twice.

    Captions are uniform over all 729. Noise levels are logit-normal(0, 1), a part of them uniform.
    """
    rng = np.random.default_rng((recipe.seed, step))
    everything = captions("all")
    texts = tuple(everything[i] for i in rng.integers(0, len(everything), recipe.batch_size))
    pictures = render([scene_of(text) for text in texts], rng)
    noise = torch.from_numpy(rng.standard_normal((recipe.batch_size, 16, 48), dtype=np.float32))
    sigma = 1 / (1 + np.exp(-rng.standard_normal(recipe.batch_size)))
    uniform = rng.uniform(size=(2, recipe.batch_size))
    sigma = np.where(uniform[0] < recipe.uniform_frac, uniform[1], sigma)
    return Batch(pictures, texts, noise, torch.from_numpy(sigma.astype(np.float32)))


def data_digest(recipe: BaseRecipe, num_steps: int) -> str:
    """Return the digest of captions and pictures of the first steps: integers, the same on every machine."""
    batches = (base_batch(recipe, step) for step in range(num_steps))
    return digest_bytes(part for b in batches for part in ("\n".join(b.texts).encode(), b.pictures.tobytes()))


def flow_matching_loss(base: BaseModel, batch: Batch) -> Tensor:
    """Return the mean squared error of the velocity at `(1 - sigma) data + sigma noise` to `noise - data`."""
    data = to_latents(torch.from_numpy(batch.pictures).permute(0, 3, 1, 2).float() / 255)
    sigma = batch.sigma[:, None, None]
    words = base.words(torch.tensor(tokens(batch.texts)))
    noisy = (1 - sigma) * data + sigma * batch.noise
    velocity = flux_velocity(base.transformer, noisy, batch.sigma, words, words.mean(dim=1))
    return (velocity - (batch.noise - data)).square().mean()


def rate_at(recipe: BaseRecipe, step: int) -> float:
    """Return the learning rate of a step: linear warm-up, constant, then linear decay to `final_frac`."""
    start = recipe.num_steps * (1 - recipe.decay_frac)
    decay = 1 - (1 - recipe.final_frac) * max(0.0, (step - start) / (recipe.num_steps - start))
    return recipe.learning_rate * min(1.0, (step + 1) / recipe.warmup_steps) * decay


@contextmanager
def threads_and_seed(threads: int, seed: int) -> Generator[None]:
    """Run a block with a fixed number of threads and a fixed global seed, and restore both."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)


def train_base(
    recipe: BaseRecipe,
    *,
    threads: int,
    stop_after: int | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[BaseModel, dict[str, Any]]:
    """Return the averaged base model and the record of its training.

    With `stop_after` the same run is cut short after so many steps. The record holds the recipe, the
    losses (means over 20 steps), seconds, and at `checkpoint_step` the loss and the digest of the state.
    """
    with threads_and_seed(threads, recipe.seed):
        base = new_base()
        trained = nn.ModuleList([base.transformer, base.words]).train()
        averaged = {name: tensor.detach().clone() for name, tensor in trained.state_dict().items()}
        optimizer = torch.optim.AdamW(
            trained.parameters(), lr=1.0, betas=(0.9, recipe.beta2), weight_decay=recipe.weight_decay
        )
        losses: list[float] = []
        checkpoint: dict[str, Any] = {}
        start, cpu_start = time.perf_counter(), time.process_time()
        for step in range(recipe.num_steps if stop_after is None else stop_after):
            for group in optimizer.param_groups:
                group["lr"] = rate_at(recipe, step)
            loss = flow_matching_loss(base, base_batch(recipe, step))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trained.parameters(), recipe.max_grad_norm)
            optimizer.step()
            _average(averaged, trained, recipe.ema)
            losses.append(loss.item())
            if step + 1 == recipe.checkpoint_step:
                checkpoint = {
                    "step": step + 1,
                    "loss": losses[-1],
                    "state": digest_state(trained.state_dict()),
                }
            if (step + 1) % 100 == 0:
                recent = math.fsum(losses[-100:]) / 100
                report(f"base step {step + 1}: loss {recent:.4f}, {time.perf_counter() - start:.0f} s")
        trained.load_state_dict(averaged)
        trained.eval()
        record = {
            "recipe": asdict(recipe),
            "fingerprint": fingerprint(),
            "data": data_digest(recipe, 3),
            "checkpoint": checkpoint,
            "losses": [math.fsum(losses[i : i + 20]) / len(losses[i : i + 20]) for i in range(0, len(losses), 20)],
            "seconds": time.perf_counter() - start,
            "cpu_seconds": time.process_time() - cpu_start,
        }
    return base, record


@torch.no_grad()
def _average(averaged: dict[str, Tensor], trained: nn.Module, decay: float) -> None:
    for name, tensor in trained.state_dict().items():
        averaged[name].lerp_(tensor, 1 - decay)
