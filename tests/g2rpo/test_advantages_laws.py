"""Laws of the integration: what leaves advantages alone, what bounds them, and that the published law is kept."""

import pytest
import torch
from torch import Tensor

from g2rpo.advantages import IntegrationRule, Key, integrate, spread_floors, summands

KEYS: list[Key] = [("judge", 1), ("judge", 2), ("clean", 1), ("clean", 2)]


def rule(normalise="each", fusion="sum", frac=0.0, weights=(1.0, 1.0)) -> IntegrationRule:
    return IntegrationRule(
        reward_weights={"judge": 1.0, "clean": weights[0]},
        granularity_weights={1: 1.0, 2: weights[1]},
        fusion=fusion,
        normalise=normalise,
        std_floor_frac=frac,
        std_eps=1e-15,
        clamp=100.0,
    )


def round_of(num_groups: int = 5, group_size: int = 12, seed: int = 0) -> list[dict[Key, Tensor]]:
    """Groups of rewards: a judge of spread 0.1 and clean of spread 0.01 about -0.1."""
    drawn = torch.Generator().manual_seed(seed)

    def group():
        values = torch.randn(4, group_size, dtype=torch.float64, generator=drawn)
        return {
            key: 0.7 + 0.1 * value if key[0] == "judge" else 0.01 * value - 0.1
            for key, value in zip(KEYS, values, strict=True)
        }

    return [group() for _ in range(num_groups)]


def advantages(groups: list[dict[Key, Tensor]], chosen: IntegrationRule) -> Tensor:
    floors = spread_floors(groups, chosen)
    added = [summands(group, chosen, floors) for group in groups]
    return torch.stack([integrate(group.values(), clamp=chosen.clamp).advantage for group in added])


def moved(groups, *, scale: float, shift: float):
    """The same groups with one reward in other units."""
    return [
        {key: scale * value + shift if key[0] == "clean" else value for key, value in group.items()} for group in groups
    ]


def test_without_a_floor_the_plain_sum_is_the_published_one_to_the_bit():
    group = round_of(1)[0]
    published = torch.stack([(r - r.mean()) / (r.std(correction=1) + 1e-15) for r in group.values()]).sum(0)
    for frac in (0.0, 0.05):  # no group is below a twentieth of the pooled spread
        assert torch.equal(advantages([group], rule(frac=frac))[0], published)


def test_standardised_values_have_mean_zero_and_sample_std_one():
    groups = round_of()
    for summand in summands(groups[0], rule(), spread_floors(groups, rule())).values():
        assert abs(float(summand.standardised.mean())) < 1e-9
        assert abs(float(summand.standardised.std()) - 1) < 1e-9


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 3.0), (40.0, 0.0), (0.5, -2.0)])
@pytest.mark.parametrize("fusion", ["sum", "mean"])
@pytest.mark.parametrize("frac", [0.0, 0.9])
def test_each_reward_may_be_shifted_and_scaled(scale, shift, fusion, frac):
    groups, chosen = round_of(), rule(fusion=fusion, frac=frac, weights=(2.0, 0.5))
    torch.testing.assert_close(
        advantages(moved(groups, scale=scale, shift=shift), chosen), advantages(groups, chosen), rtol=1e-9, atol=1e-9
    )


def test_mixed_rewards_may_be_shifted_but_one_that_is_scaled_counts_for_more():
    groups, chosen = round_of(), rule("mixed")
    plain = advantages(groups, chosen)
    torch.testing.assert_close(advantages(moved(groups, scale=1.0, shift=3.0), chosen), plain)
    wide = advantages(moved(groups, scale=1000.0, shift=0.0), chosen)
    alone = advantages([{k: v for k, v in group.items() if k[0] == "clean"} for group in groups], rule())
    assert float((wide - plain).abs().max()) > 1
    assert float((wide - alone).abs().max()) < 0.05


def test_mixed_rewards_may_all_be_scaled_alike():
    groups, chosen = round_of(), rule("mixed")
    scaled = [{key: 8.0 * value for key, value in group.items()} for group in groups]
    torch.testing.assert_close(advantages(scaled, chosen), advantages(groups, chosen))


def test_one_reward_is_the_same_mixed_or_not():
    groups = [{key: value for key, value in group.items() if key[0] == "judge"} for group in round_of()]
    torch.testing.assert_close(advantages(groups, rule("mixed")), advantages(groups, rule()))


@pytest.mark.parametrize("normalise", ["each", "mixed"])
@pytest.mark.parametrize("fusion", ["sum", "mean"])
def test_summands_add_up_to_the_advantage_before_the_clamp(normalise, fusion):
    groups, chosen = round_of(), rule(normalise, fusion, frac=0.9, weights=(2.0, 0.5))
    floors = spread_floors(groups, chosen)
    for group in groups:
        added = summands(group, chosen, floors)
        total = sum(summand.weight * summand.standardised for summand in added.values())
        torch.testing.assert_close(integrate(added.values(), clamp=100.0).advantage, total)
        for key, summand in added.items():
            by_hand = (group[key] - summand.spread.mean) / summand.divisor.value
            torch.testing.assert_close(summand.standardised, by_hand)


def test_a_group_of_equal_rewards_says_exactly_nothing():
    # 0.1 is no binary fraction: the mean of twelve is another number than 0.1
    equal = {key: torch.full((12,), 0.1, dtype=torch.float64) for key in KEYS}
    for frac in (0.0, 0.5):
        assert advantages([equal], rule(frac=frac)).tolist() == [[0.0] * 12]


def test_rounding_errors_say_next_to_nothing():
    # single-precision rewards of 0.3 that differ in the last bits alone, in every group: nothing pooled is larger
    noise = 3e-8 * torch.randint(-2, 3, (4, 12), generator=torch.Generator().manual_seed(1)).double()
    groups = [{key: 0.3 + value for key, value in zip(KEYS, noise, strict=True)}]
    found = advantages(groups, rule(frac=0.05))
    assert 0 < float(found.abs().max()) < 4 * 0.03
    blown_up = {key: (value - value.mean()) / value.std() for key, value in groups[0].items()}
    assert float(sum(blown_up.values()).abs().max()) > 1


def test_the_floor_bounds_the_advantage_of_a_nearly_constant_group():
    # one group has a thousandth of the spread of the others: at a floor of a tenth it has a hundredth of their weight
    groups = round_of(50)
    quiet = {key: value.mean() + 1e-3 * (value - value.mean()) for key, value in groups[0].items()}
    groups = [quiet, *groups[1:]]
    floors = spread_floors(groups, rule(frac=0.1))
    before, after = (summands(quiet, rule(frac=frac), spread_floors(groups, rule(frac=frac))) for frac in (0.0, 0.1))
    for key in KEYS:
        bound = (12 - 1) / 12**0.5 * after[key].spread.std / floors[key]
        assert after[key].divisor.floored
        assert not before[key].divisor.floored
        assert float(after[key].standardised.abs().max()) <= bound < 0.06
        assert float(before[key].standardised.abs().max()) > 1
    others = summands(groups[1], rule(frac=0.1), floors)
    assert not any(summand.divisor.floored for summand in others.values())


def test_the_floor_lets_an_ordinary_reward_of_small_units_be():
    # HPS-like: spreads of .01 to .02 at a mean of .3
    stds = torch.linspace(0.01, 0.02, 20)
    drawn = torch.randn(20, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    drawn = (drawn - drawn.mean(1, keepdim=True)) / drawn.std(1, keepdim=True)
    groups = [{("judge", 1): 0.3 + std * row} for std, row in zip(stds, drawn, strict=True)]
    assert torch.equal(advantages(groups, rule(frac=0.05)), advantages(groups, rule()))


def test_the_floor_does_not_depend_on_the_order_of_the_groups():
    groups, chosen = round_of(40), rule(frac=0.3)
    assert spread_floors(groups, chosen) == spread_floors(groups[::-1], chosen)
