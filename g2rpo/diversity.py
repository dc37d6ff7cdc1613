"""How much the pictures of a group differ: it falls when a policy samples the same picture from every noise."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def group_diversity(latents: Float[Tensor, " b *element"], group: Int[Tensor, " b"]) -> Float[Tensor, " groups"]:
    """Return how far the members of each group lie apart.

        diversity = sqrt(mean over elements of s^2),    s^2 the sample variance of an element over the group,

    in latent units, in double precision; 0 where all are equal. The square root is taken last, so that groups of
    different sizes have the same expectation of its square.

    Args:
        latents: Clean latents, one row per picture.
        group: The group of each row, numbered from 0 without gaps; each has at least two rows.
    """
    rows = latents.detach().flatten(1).double()
    sizes = torch.bincount(group).double()
    means = torch.zeros(len(sizes), rows.shape[1], dtype=torch.float64, device=rows.device).index_add_(0, group, rows)
    means /= sizes[:, None]
    squares = (rows - means[group]).square().mean(dim=1)
    sums = torch.zeros(len(sizes), dtype=torch.float64, device=rows.device).index_add_(0, group, squares)
    return (sums / (sizes - 1)).sqrt()
