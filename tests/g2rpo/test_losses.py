import math

import pytest
import torch

from g2rpo.losses import clipped_surrogate


def surrogate(ratio, advantage, clip_range=0.2):
    log_prob = torch.tensor([math.log(ratio)], dtype=torch.float64, requires_grad=True)
    found = clipped_surrogate(
        log_prob, torch.zeros(1).double(), torch.tensor([advantage]).double(), clip_range=clip_range
    )
    found.loss.backward()
    return float(found.loss.detach()), float(log_prob.grad), bool(found.clipped[0])


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient", "clipped"),
    [
        (1.0, 2.0, -2.0, -2.0, False),  # on-policy: the policy gradient -A
        (1.1, 2.0, -2.2, -2.2, False),  # inside the clip: -rho A
        (1.5, 2.0, -2.4, 0.0, True),  # a good branch already likelier: held at 1.2, no gradient
        (0.5, 2.0, -1.0, -1.0, False),  # a good branch less likely: pushed back
        (1.5, -2.0, 3.0, 3.0, False),  # a bad branch likelier: pushed down
        (0.5, -2.0, 1.6, 0.0, True),  # a bad branch already less likely: held at 0.8
    ],
)
def test_clipped_surrogate_by_hand(ratio, advantage, loss, gradient, clipped):
    found = surrogate(ratio, advantage)
    assert found[:2] == pytest.approx((loss, gradient))
    assert found[2] is clipped


def test_loss_is_the_mean_over_branches():
    advantages = torch.tensor([1.0, 2.0, 6.0])
    found = clipped_surrogate(torch.zeros(3), torch.zeros(3), advantages, clip_range=1e-4)
    assert float(found.loss) == pytest.approx(-3.0)


def test_a_clip_range_of_zero_is_refused():
    with pytest.raises(ValueError, match="above 0, got clip_range=0.0"):
        clipped_surrogate(torch.zeros(1), torch.zeros(1), torch.ones(1), clip_range=0.0)
