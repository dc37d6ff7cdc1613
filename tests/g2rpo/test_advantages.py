"""Worked examples of the integration: advantages derived by hand, and what is refused."""

import pytest
import torch

from g2rpo.advantages import (
    GroupSpread,
    IntegrationRule,
    divisor,
    group_spread,
    integrate,
    signals,
    spread_floors,
    summands,
)

PLAIN = {
    "reward_weights": {"hps": 1.0, "clip": 1.0},
    "granularity_weights": {1: 1.0, 2: 1.0},
    "fusion": "sum",
    "normalise": "each",
    "std_floor_frac": 0.0,
    "std_eps": 1e-15,
    "clamp": 5.0,
}


def rule(**changed) -> IntegrationRule:
    return IntegrationRule(**PLAIN | changed)


def rewards(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def advantage(values, settings: IntegrationRule) -> list[float]:
    added = summands(values, settings, spread_floors([values], settings))
    return integrate(added.values(), clamp=settings.clamp).advantage.tolist()


# three branches: (-1, 0, 1), (-1, 1, 0) and (1, 0, -1) once standardised, each with a std of its own
GROUP = {
    ("hps", 1): rewards(0.1, 0.2, 0.3),  # std 0.1
    ("hps", 2): rewards(0.1, 0.5, 0.3),  # std 0.2
    ("clip", 1): rewards(7.0, 5.0, 3.0),  # std 2
    ("clip", 2): rewards(7.0, 5.0, 3.0),
}


def test_the_plain_sum_by_hand():
    # (-1 - 1 + 1 + 1, 0 + 1 + 0 + 0, 1 + 0 - 1 - 1)
    assert advantage(GROUP, rule()) == pytest.approx([0.0, 1.0, -1.0])


def test_the_sample_std_divides_by_hand():
    # rewards 1 2 3 6: mean 3, sample variance (4 + 1 + 0 + 9) / 3
    std = (14 / 3) ** 0.5
    assert advantage({("hps", 1): rewards(1, 2, 3, 6)}, rule()) == pytest.approx([-2 / std, -1 / std, 0, 3 / std])
    spread = group_spread(rewards(1, 2, 3, -6))
    assert (spread.mean, spread.largest) == (0.0, 6.0)


def test_weights_per_reward_by_hand():
    # hps (-2, 1, 1) in all, clip (2, 0, -2): 3 hps + 0.5 clip
    weighted = rule(reward_weights={"hps": 3.0, "clip": 0.5})
    assert advantage(GROUP, weighted) == pytest.approx([-5.0, 3.0, 2.0])


def test_weights_per_granularity_by_hand():
    # granularity 1: (-1 + 1, 0, 1 - 1) = 0; granularity 2: (-1 + 1, 1, -1), of which a half
    weighted = rule(granularity_weights={1: 1.0, 2: 0.5})
    assert advantage(GROUP, weighted) == pytest.approx([0.0, 0.5, -0.5])


def test_the_mean_divides_by_all_weights_by_hand():
    # sum of w_reward w_granularity = (3 + 1) (1 + 0.5) = 6
    # hps 3 ((-1, 0, 1) + 0.5 (-1, 1, 0)) + clip 1.5 (1, 0, -1) = (-4.5, 1.5, 3) + (1.5, 0, -1.5) = (-3, 1.5, 1.5)
    weights = {"reward_weights": {"hps": 3.0, "clip": 1.0}, "granularity_weights": {1: 1.0, 2: 0.5}}
    assert advantage(GROUP, rule(**weights)) == pytest.approx([-3.0, 1.5, 1.5])
    assert advantage(GROUP, rule(fusion="mean", **weights)) == pytest.approx([-0.5, 0.25, 0.25])


def test_the_mean_of_one_term_is_the_term_whatever_its_weight():
    one = {("hps", 2): GROUP["hps", 2]}
    weighted = rule(fusion="mean", reward_weights={"hps": 7.0}, granularity_weights={2: 3.0})
    assert advantage(one, weighted) == pytest.approx([-1.0, 1.0, 0.0])


def test_mixed_rewards_by_hand():
    # weights 10 and 1. Granularity 1: 10 (.1, .2, .3) + (7, 5, 3) = (8, 7, 6): std 1, standardised (1, 0, -1).
    # Granularity 2: 10 (.1, .5, .3) + (7, 5, 3) = (8, 10, 6): std 2, standardised (0, 1, -1).
    mixed = rule(normalise="mixed", reward_weights={"hps": 10.0, "clip": 1.0})
    assert advantage(GROUP, mixed) == pytest.approx([1.0, 1.0, -2.0])
    weighted = rule(normalise="mixed", reward_weights={"hps": 10.0, "clip": 1.0}, granularity_weights={1: 3.0, 2: 1.0})
    assert advantage(GROUP, weighted) == pytest.approx([3.0, 1.0, -4.0])


def test_the_mean_of_mixed_rewards_divides_by_the_granularities_alone():
    # as above over 3 + 1; the weights of the rewards are within what is standardised
    mixed = rule(
        normalise="mixed",
        fusion="mean",
        reward_weights={"hps": 10.0, "clip": 1.0},
        granularity_weights={1: 3.0, 2: 1.0},
    )
    assert advantage(GROUP, mixed) == pytest.approx([0.75, 0.25, -1.0])


def test_the_terms_of_mixed_rewards_by_hand():
    # (8, 7, 6) has std 1; hps gives 10 (-.1, 0, .1) of it and clip (2, 0, -2)
    settings = rule(normalise="mixed", reward_weights={"hps": 10.0, "clip": 1.0})
    added = summands(GROUP, settings, spread_floors([GROUP], settings))
    hps, clip = added["hps", 1], added["clip", 1]
    assert (hps.weight, hps.divisor.value, hps.spread.std) == pytest.approx((10.0, 1.0, 0.1))
    assert hps.standardised.tolist() == pytest.approx([-0.1, 0.0, 0.1])
    assert (clip.weight, clip.divisor.value, clip.spread.std) == pytest.approx((1.0, 1.0, 2.0))
    assert clip.standardised.tolist() == pytest.approx([2.0, 0.0, -2.0])


def test_the_clamp_cuts_and_tells_by_hand():
    # the plain sum is (0, 1, -1), at weights of 4 (0, 4, -4)
    added = summands(GROUP, rule(granularity_weights={1: 4.0, 2: 4.0}), dict.fromkeys(GROUP, 0.0))
    found = integrate(added.values(), clamp=3.0)
    assert found.advantage.tolist() == pytest.approx([0.0, 3.0, -3.0])
    assert found.clamped.tolist() == [False, True, True]


def test_eps_damps_a_tiny_spread_by_hand():
    # rewards 0, 2: std sqrt 2; with eps = sqrt 2 they are -1 / (2 sqrt 2) and the opposite
    found = advantage({("hps", 1): rewards(0, 2)}, rule(std_eps=2**0.5))
    assert found == pytest.approx([-1 / (2 * 2**0.5), 1 / (2 * 2**0.5)])


def test_the_floor_is_a_share_of_the_pooled_spread_by_hand():
    # stds 3, 4 and 0: pooled sqrt((9 + 16 + 0) / 3) = 5 / sqrt 3
    groups = [{("hps", 1): rewards(*values)} for values in ((-3, 0, 3), (1, 5, 9), (2, 2, 2))]
    floors = spread_floors(groups, rule(std_floor_frac=0.3))
    assert floors == {("hps", 1): pytest.approx(0.3 * 5 / 3**0.5)}


@pytest.mark.parametrize(
    ("std", "largest", "value", "floored"),
    [
        (0.5, 1.0, 0.5 + 0.25, False),  # its own
        (0.1, 1.0, 0.2 + 0.25, True),  # the floor
        (0.5, 1e5, 1.0 + 0.25, True),  # the resolution of a reward of 100,000 in single precision
    ],
)
def test_the_divisor_by_hand(std, largest, value, floored):
    found = divisor(GroupSpread(mean=0.0, std=std, largest=largest), floor=0.2, eps=0.25)
    assert (found.value, found.floored) == (pytest.approx(value), floored)


def test_a_group_of_one_is_refused_with_a_remedy():
    with pytest.raises(ValueError, match=r"at least 2 samples.*got group_size=1. Raise rollout.group_size"):
        group_spread(rewards(1.0))


def test_a_reward_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="finite numbers"):
        group_spread(rewards(1.0, float("nan")))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "at least one reward and one granularity"),
        ({("jpeg", 1): torch.zeros(2)}, "reward needs a weight, got none for jpeg. Set integrate.reward_weights"),
        ({("hps", 3): torch.zeros(2)}, "granularity needs a weight, got none for 3. Set integrate.granularity_weights"),
    ],
)
@pytest.mark.parametrize("normalise", ["each", "mixed"])
def test_rewards_without_a_weight_are_refused(values, message, normalise):
    with pytest.raises(ValueError, match=message):
        signals(values, rule(normalise=normalise))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"clamp": 0.0}, "above 0, got clamp=0.0. Use 5"),
        (
            {"reward_weights": {"hps": 0.0, "clip": 0.0}},
            "reward weights .*one above 0, got .*reward_weights so",
        ),
        ({"granularity_weights": {1: 2.0, 2: -1.0}}, r"at least 0.*got \{1: 2.0, 2: -1.0\}.*granularity_weights"),
    ],
)
def test_rules_that_mean_nothing_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        rule(**changed)
