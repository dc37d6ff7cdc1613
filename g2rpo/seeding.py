"""One noise per position: (run seed, round, prompt, window, branch, step) names it, nothing else does.

Noise is drawn row by row from a seed of its own, on the CPU, in fp32. So it depends neither on the batch a
row is in, nor on the shard, the number of runners or the device. torch's CPU generator takes the low 32 bits of a
seed: among a million rows about a hundred pairs share their noise, at unrelated positions.
"""

from collections.abc import Sequence

import torch

from g2rpo.types import Latents


def noise(seeds: Sequence[int], latent_shape: Sequence[int]) -> Latents:
    """Return standard normal latents, fp32 on the CPU, shape (len(seeds), *latent_shape), a row a seed."""
    rows = torch.empty((len(seeds), *latent_shape))
    generator = torch.Generator()
    for row, seed in zip(rows, seeds, strict=True):
        row.normal_(generator=generator.manual_seed(seed))
    return rows
