import pytest
import torch

from g2rpo.advantages import group_scores, integrate


def test_group_scores_by_hand():
    # rewards 1 2 3 6: mean 3, sample variance (4 + 1 + 0 + 9) / 3
    scores = group_scores(torch.tensor([1.0, 2.0, 3.0, 6.0]), eps=1e-12)
    std = (14 / 3) ** 0.5
    torch.testing.assert_close(scores.standardised, torch.tensor([-2, -1, 0, 3], dtype=torch.float64) / std)
    assert (scores.mean, round(scores.std, 12)) == (3.0, round(std, 12))


def test_scores_of_a_group_have_mean_zero_and_sample_std_one():
    rewards = torch.randn(12, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.03 + 0.3
    scores = group_scores(rewards, eps=1e-12).standardised
    assert abs(float(scores.mean())) < 1e-9
    assert abs(float(scores.std()) - 1) < 1e-9


def test_scores_do_not_depend_on_shift_and_scale_of_the_reward():
    rewards = torch.tensor([0.1, 0.5, 0.2, 0.9], dtype=torch.float64)
    plain, moved = (group_scores(r, eps=1e-15).standardised for r in (rewards, 7 * rewards - 3))
    torch.testing.assert_close(plain, moved)


def test_eps_damps_a_tiny_spread():
    # rewards 0, 2: std = sqrt 2; with eps = sqrt 2 the scores are -1 / (2 sqrt 2) and the opposite
    scores = group_scores(torch.tensor([0.0, 2.0]), eps=2**0.5).standardised
    torch.testing.assert_close(scores, torch.tensor([-1.0, 1.0], dtype=torch.float64) / (2 * 2**0.5))


def test_a_group_of_equal_rewards_says_nothing():
    scores = group_scores(torch.full((12,), 0.1), eps=1e-8)
    assert scores.std == 0.0
    assert scores.standardised.tolist() == [0.0] * 12


def test_a_group_of_one_is_refused_with_a_remedy():
    with pytest.raises(ValueError, match=r"at least 2 samples.*got group_size=1. Raise rollout.group_size"):
        group_scores(torch.tensor([1.0]), eps=1e-8)


def test_a_reward_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="finite numbers"):
        group_scores(torch.tensor([1.0, float("nan")]), eps=1e-8)


def test_integration_by_hand():
    # weights 1 and 2: (1 + 2) + 2 * 0.5 = 4; (-1 - 3) + 2 * (-0.5) = -5 -> -4.5; (2 + 3) + 2 * 1 = 7 -> 4.5
    summands = {
        ("hps", 1): torch.tensor([1.0, -1.0, 2.0]),
        ("hps", 2): torch.tensor([2.0, -3.0, 3.0]),
        ("clip", 1): torch.tensor([0.5, -0.5, 1.0]),
    }
    found = integrate(summands, reward_weights={"hps": 1.0, "clip": 2.0}, clamp=4.5)
    assert found.advantage.tolist() == [4.0, -4.5, 4.5]
    assert found.clamped.tolist() == [False, True, True]


def test_one_granularity_and_one_reward_is_plain_grpo():
    scores = group_scores(torch.tensor([1.0, 2.0, 4.0]), eps=1e-8).standardised
    assert torch.equal(integrate({("r", 1): scores}, reward_weights={"r": 1.0}, clamp=5.0).advantage, scores)


@pytest.mark.parametrize(
    ("summands", "weights", "clamp", "said"),
    [
        ({}, {}, 5.0, "at least one reward"),
        ({("r", 1): torch.zeros(2)}, {}, 5.0, "got none for r"),
        ({("r", 1): torch.zeros(2)}, {"r": 1.0}, 0.0, "above 0, got clamp=0.0"),
    ],
)
def test_sums_that_mean_nothing_are_refused(summands, weights, clamp, said):
    with pytest.raises(ValueError, match=said):
        integrate(summands, reward_weights=weights, clamp=clamp)
