"""One noise per position: it depends on (run seed, round, prompt, window, branch, step) and on nothing else.

Each row is drawn from a seed of its own, on the CPU, in fp32. So it depends neither on the batch a
row is in, nor on the shard, the number of runners or the device. It comes from NumPy's PCG64, whose state of 128 bits
uses all of a seed; torch's CPU generator keeps 32 bits of one, and among a million rows about a hundred pairs would
share their noise.
"""

from collections.abc import Sequence

import numpy as np
import torch

from g2rpo.types import Latents


def noise(seeds: Sequence[int], latent_shape: Sequence[int]) -> Latents:
    """Return standard normal latents, fp32 on the CPU, shape (len(seeds), *latent_shape), one row per seed."""
    rows = np.empty((len(seeds), *latent_shape), np.float32)
    for row, seed in zip(rows, seeds, strict=True):
        np.random.default_rng(seed).standard_normal(dtype=np.float32, out=row)
    return torch.from_numpy(rows)
