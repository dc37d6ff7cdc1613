"""Guards that look at the numbers of the last round, by hand-made histories."""

import pytest
from histories import column, history

from flows.guards.numbers import clip_frac, exploding, kl, non_finite, ratio, zero_spread


def test_a_number_that_is_not_finite_is_named():
    told = non_finite(history([{"update/kl": float("inf"), "update/loss": 0.1, "reward/a": float("nan")}]))
    assert told.startswith("Finite numbers are required, got reward/a nan, update/kl inf. ")
    assert "lower update.learning_rate" in told
    assert non_finite(history([{"update/kl": 1.0}])) is None
    assert non_finite(history([])) is None


def test_a_gradient_explodes_against_the_median_of_the_earlier_rounds():
    five = column("update/grad_norm", 1.0, 3.0, 2.0, 2.0, 9.0)
    limit = "guards.exploding.times=20.0"
    told = exploding(history([*five, {"update/grad_norm": 40.1}], limit))
    assert told.startswith("The gradient norm is 40.1, 20.1 times its median of 2: the policy diverges.")
    assert exploding(history([*five, {"update/grad_norm": 39.9}], limit)) is None
    assert exploding(history([*five[:4], {"update/grad_norm": 400.0}], limit)) is None
    assert exploding(history(column("update/grad_norm", 0.0, 0.0, 0.3, 0.0, 0.0, 0.5), limit)) is None


def test_first_ratios_further_from_one_than_allowed_are_told():
    limit, name = "guards.ratio.gap=0.001", "update/first_ratio_gap"
    told = ratio(history(column(name, 0.0, 0.0021), limit))
    assert "of the first optimizer step must be 1, got a gap of 0.0021" in told
    assert "resources.dtype to float32" in told
    assert ratio(history(column(name, 0.0021, 0.001), limit)) is None  # of the last round
    assert ratio(history([], limit)) is None


def test_first_ratios_of_a_policy_that_is_a_round_older_are_not_one_and_not_told():
    stale = ("placement.runner=ray", "placement.num_runners=2", "placement.update_runners=1", "placement.staleness=1")
    assert ratio(history(column("update/first_ratio_gap", 0.5), *stale)) is None


def test_groups_without_spread_are_told_after_that_many_rounds_in_a_row():
    limits = ("guards.zero_spread.frac=0.9", "guards.zero_spread.rounds=3")
    name = "advantage/zero_spread_frac"
    told = zero_spread(history(column(name, 0.0, 0.9, 1.0, 0.95), *limits))
    assert told.startswith("In the last 3 rounds at least 90% of the groups had equal rewards for all members")
    assert "Raise rollout.eta or rollout.group_size" in told
    assert zero_spread(history(column(name, 1.0, 0.9, 0.89, 0.95), *limits)) is None
    assert zero_spread(history(column(name, 1.0, 1.0), *limits)) is None


@pytest.mark.parametrize(
    ("guard", "name", "limit", "says"),
    [
        (kl, "update/kl", "guards.kl.most=0.2", "The KL to the base is 0.25 nats per latent element, more than 0.2"),
        (
            clip_frac,
            "update/clip_frac",
            "guards.clip_frac.most=0.2",
            "25% of the importance ratios were clipped, more than",
        ),
    ],
)
def test_what_is_over_its_limit_in_the_last_round_is_told(guard, name, limit, says):
    told = guard(history(column(name, 0.0, 0.25), limit))
    assert told.startswith(says)
    assert "ower update.learning_rate" in told
    assert guard(history(column(name, 0.25, 0.2), limit)) is None
    assert guard(history([], limit)) is None
