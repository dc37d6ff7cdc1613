"""The figures in the build log: scores of the base model and of true pictures, by judges and rule."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from g2rpo.policies.shapes import ShapesPolicy
from g2rpo.rewards.protocol import Reward
from g2rpo.schedule import shifted_sigmas
from g2rpo.sde import ode_step
from g2rpo.shapes.captions import captions, scene_of
from g2rpo.shapes.renderer import render
from g2rpo.shapes_build.near_misses import near_misses
from g2rpo.types import Images

NUM_STEPS = 8
SHIFT = 2.0
_BATCH = 96


def render_images(texts: Sequence[str], seed: int) -> Images:
    """Return one true picture for each caption, (n, 3, 16, 16) in [0, 1]."""
    pictures = render([scene_of(text) for text in texts], np.random.default_rng(seed))
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def sample_images(policy: ShapesPolicy, texts: Sequence[str], *, num_steps: int, shift: float, seed: int) -> Images:
    """Return one picture for each text by the ODE, from noise that depends on the seed and the row alone."""
    sigmas = shifted_sigmas(num_steps, shift).float().to(policy.device)
    shape = (len(texts), *policy.latent_shape)
    noise = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    pictures: list[Images] = []
    for start in range(0, len(texts), _BATCH):
        latents = torch.from_numpy(noise[start : start + _BATCH]).to(policy.device)
        condition = policy.encode(texts[start : start + _BATCH])
        for sigma, sigma_next in pairwise(sigmas):
            level, level_next = sigma.expand(len(latents)), sigma_next.expand(len(latents))
            velocity = policy.velocity(latents, level, condition)
            latents = ode_step(latents, velocity, sigma=level, sigma_next=level_next)
        pictures.append(policy.decode(latents))
    return torch.cat(pictures)


def mean_rewards(rewards: Sequence[Reward], images: Images, texts: Sequence[str]) -> dict[str, float]:
    """Return the mean of each reward over the pictures, by name."""
    return {reward.name: round(float(reward.score(images, texts).mean()), 4) for reward in rewards}


def base_figures(
    policy: ShapesPolicy, rewards: Sequence[Reward], *, splits: Sequence[str], repeats: int, seed: int
) -> dict[str, dict[str, float]]:
    """Return the mean rewards of a policy on the splits at ODE 8, shift 2, `repeats` noises per caption."""
    table: dict[str, dict[str, float]] = {}
    for split in splits:
        texts = captions(split) * repeats
        images = sample_images(policy, texts, num_steps=NUM_STEPS, shift=SHIFT, seed=seed)
        table[f"base, {split} captions"] = mean_rewards(rewards, images, texts)
    return table


def truth_figures(rewards: Sequence[Reward], *, repeats: int, seed: int) -> dict[str, dict[str, float]]:
    """Return the mean rewards of true pictures under their own, other and almost true captions.

    Another caption is drawn uniformly from the other 728, a near miss uniformly from the kinds of error and
    then within the kind.
    """
    texts = captions("all") * repeats
    images = render_images(texts, seed)
    rng = np.random.default_rng((seed, 1))
    number = len(captions("all"))
    offsets = rng.integers(1, number, len(texts))
    others = [texts[(i + int(offset)) % number] for i, offset in enumerate(offsets)]
    misses: list[str] = []
    for text in texts:
        groups = near_misses(text)
        group = groups[rng.integers(len(groups))]
        misses.append(group[rng.integers(len(group))])
    return {
        "true pictures": mean_rewards(rewards, images, texts),
        "true pictures, another caption": mean_rewards(rewards, images, others),
        "true pictures, a near miss": mean_rewards(rewards, images, misses),
    }
