"""The clipped surrogate of PPO over branches, and its ratios.

Source: PPO, arXiv:1707.06347, eq. 7, as G²RPO, arXiv:2510.01982, uses it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from g2rpo.types import Rewards


@dataclass(frozen=True)
class Surrogate:
    """The loss to minimise (a scalar with gradient); ratios and where the clip acts, shape (b,), without gradient.

    Example: ratio 1 and advantages (+1, -1) give loss 0 and a gradient.
    """

    loss: Tensor
    ratio: Rewards
    clipped: Tensor


def clipped_surrogate(log_prob: Rewards, log_prob_old: Rewards, advantage: Rewards, *, clip_range: float) -> Surrogate:
    """Return the PPO-clip loss, mean over the branches.

        L = -mean[ min( rho A, clip(rho, 1 - c, 1 + c) A ) ],    rho = exp(log_prob - log_prob_old).

    A branch counts as clipped where the minimum is the clipped term, which gives no gradient.

    Args:
        clip_range: c, above 0 (1e-4 in the paper: log-probabilities are means over elements).
    """
    if clip_range <= 0:
        raise ValueError(f"A clip range is above 0, got clip_range={clip_range}. Use 1e-4 as in the paper.")
    ratio = torch.exp(log_prob - log_prob_old)
    unclipped = ratio * advantage
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range) * advantage
    loss = -torch.minimum(unclipped, clipped).mean()
    return Surrogate(loss=loss, ratio=ratio.detach(), clipped=(clipped < unclipped).detach())
