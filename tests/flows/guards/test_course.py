"""Guards that look at the course of a run, by hand-made histories."""

import numpy as np
import pytest
from histories import column, history

from flows.guards.course import (
    diversity,
    fall_in_standard_errors,
    fallen,
    reward_collapse,
    reward_hacking,
    share_lost,
)


def rounds(*means, spread=(0.01, 0.03)):
    """Metrics of rounds whose reward has these means, and at two granularities these spreads."""
    fine, coarse = spread
    return [
        {
            "reward/clean/mean": mean,
            "reward/clean/granularity_1/spread": fine,
            "reward/clean/granularity_2/spread": coarse,
            "reward/clean/step_0/spread": 9.0,
        }
        for mean in means
    ]


def test_the_fall_is_counted_in_spreads_by_hand():
    # from 0.5 to 0.4 at a spread of (0.01 + 0.03) / 2 = 0.02; the rounds between do not count
    fell = history(rounds(*[0.5] * 10, *[7.0] * 5, *[0.4] * 10))
    assert fallen(fell, "clean") == pytest.approx(5.0)
    assert fallen(history(rounds(*[0.4] * 10, *[0.5] * 10)), "clean") == pytest.approx(-5.0)


def test_too_few_rounds_or_no_spread_tell_nothing():
    assert fallen(history(rounds(*[0.5] * 10, *[0.1] * 9)), "clean") == 0.0
    assert fallen(history(rounds(*[0.5] * 10, *[0.1] * 10, spread=(0.0, 0.0))), "clean") == 0.0


def test_a_trained_reward_that_falls_by_more_than_five_spreads_is_told_with_remedies():
    told = reward_collapse(history(rounds(*[0.5] * 10, *[0.38] * 10)))
    assert told is not None
    assert "fallen by 6.0 times its spread" in told
    assert "integrate.reward_weights" in told
    assert reward_collapse(history(rounds(*[0.5] * 10, *[0.42] * 10))) is None


def of_clean(values):
    return {"clean": np.asarray(values)}


def test_a_trained_reward_below_the_base_on_the_held_out_prompts_is_told_before_twenty_rounds():
    """Half of 32 prompts fall by 2, half by 0: sqrt(31) = 5.6 standard errors, as the test below derives."""
    base = np.linspace(0.0, 1.0, 32)
    fell = base - np.tile([2.0, 0.0], 16)
    limit = "guards.reward_collapse.standard_errors="

    def told(*overrides, **held_out):
        evaluations = {int(name[1:]): of_clean(values) for name, values in held_out.items()}
        return reward_collapse(history(rounds(0.5), *overrides, held_out=evaluations))

    assert "The trained reward clean is 5.6 standard errors below the base" in told(f"{limit}5.5", _0=base, _9=fell)
    assert told(f"{limit}5.6", _0=base, _9=fell) is None
    assert told(_0=base, _5=fell, _9=base) is None  # the last one counts
    assert told(_0=fell) is None
    assert told(_1=base, _9=fell) is None  # the base was not judged
    assert reward_collapse(history(rounds(0.5), held_out={0: {"b": base}, 9: {"b": fell}})) is None


def test_a_fall_is_a_paired_difference_over_its_standard_error():
    """16 prompts fall by 2 and 16 by 0, in units of s before: mean 1 / s, standard error sqrt(32/31) / s / sqrt(32)."""
    before = np.linspace(0.0, 1.0, 32)
    now = before - np.tile([2.0, 0.0], 16)
    expected = 1.0 / (np.sqrt(32 / 31) / np.sqrt(32))
    assert fall_in_standard_errors({"a": before}, {"a": now}, ["a"]) == pytest.approx(expected)
    assert fall_in_standard_errors({"a": now}, {"a": before}, ["a"]) < 0
    assert fall_in_standard_errors({"a": before}, {"a": before}, ["a"]) == 0.0
    assert fall_in_standard_errors({"a": before[:31]}, {"a": now[:31]}, ["a"]) == 0.0


def test_rewards_in_other_units_count_the_same():
    generator = np.random.default_rng(0)
    before, now = generator.normal(size=(2, 32)), generator.normal(size=(2, 32))
    plain = fall_in_standard_errors({"a": before[0], "b": before[1]}, {"a": now[0], "b": now[1]}, ["a", "b"])
    scaled = fall_in_standard_errors(
        {"a": before[0], "b": 1e4 * before[1]}, {"a": now[0], "b": 1e4 * now[1]}, ["a", "b"]
    )
    assert scaled == pytest.approx(plain)


def test_the_share_of_the_gain_that_is_lost_by_hand():
    """b has a tenth of a's spread, so ten times its weight: 1 + 10 * 0.2 is lost of a gain of 2 + 10 * 0.4."""
    spread = np.linspace(0.0, 1.0, 32)
    best = {"a": spread + 2.0, "b": spread / 10 + 0.4}
    base, now = {"a": spread, "b": spread / 10}, {"a": spread + 1.0, "b": spread / 10 + 0.2}
    assert share_lost(base, best, now, ["a", "b"]) == pytest.approx(0.5)
    assert share_lost(base, best, base, ["a", "b"]) == pytest.approx(1.0)
    assert share_lost(base, base, best, ["a"]) == 0.0
    assert share_lost(best, best, now, ["a"]) == float("inf")


def judged(trained, held_out):
    """An evaluation of 32 prompts: the mean of judge_a, and that of the three rewards that are not trained on."""
    noise = np.random.default_rng(int(1000 * held_out)).normal(scale=0.01, size=32)
    scored = held_out + np.linspace(-0.1, 0.1, 32) + noise - noise.mean()
    return {"judge_a": np.full(32, trained), "judge_b": scored, "rule_soft": scored, "rule_strict": scored}


def of_one_prompt(scores):
    return {name: of[:1] for name, of in scores.items()}


def test_held_out_rewards_that_fall_while_the_trained_one_stands_above_the_base_are_reward_hacking():
    evaluations = {0: judged(0.7, 0.5), 10: judged(0.8, 0.6), 20: judged(0.85, 0.55)}
    told = reward_hacking(history([], held_out=evaluations))
    assert told is not None
    assert "lost 50% of their gain since round 10 (judge_b 0.600 -> 0.550" in told
    assert "judge_a 0.700 -> 0.850" in told


@pytest.mark.parametrize(
    "evaluations",
    [
        {0: judged(0.7, 0.5), 10: judged(0.8, 0.6), 20: judged(0.85, 0.61)},  # all rise
        {0: judged(0.7, 0.5), 10: judged(0.8, 0.6), 20: judged(0.65, 0.55)},  # all fall: reward_collapse tells
        {0: judged(0.7, 0.5), 10: judged(0.8, 0.6), 20: judged(0.85, 0.58)},  # surely fallen, by a fifth of the gain
        {n: of_one_prompt(judged(0.7 + n / 100, 0.5 - n / 100)) for n in range(3)},  # of it nothing can be told
        {0: judged(0.7, 0.5), 10: judged(0.8, 0.45)},  # one evaluation tells nothing of a course
    ],
)
def test_what_is_not_reward_hacking_is_not_told(evaluations):
    assert reward_hacking(history([], held_out=evaluations)) is None


def test_diversity_is_compared_with_the_first_rounds():
    name, limit = "diversity/mean", "guards.diversity.frac=0.5"
    told = diversity(history(column(name, *[0.2] * 10, *[0.09] * 10), limit))
    assert "has fallen to 0.09 from 0.2 in the first 10 rounds, to 45%" in told
    assert diversity(history(column(name, *[0.2] * 10, *[0.101] * 10), limit)) is None
    assert diversity(history(column(name, *[0.2] * 10, *[0.01] * 9), limit)) is None
