"""The parameters as records of the method, value by value."""

from dataclasses import asdict

import pytest
import torch
from tiny import tiny_params

from stages.engine.rules import integration_rule, learning_rate, optimizer_settings, update_rule

SIGMAS = torch.tensor([1.0, 0.5, 0.0])
STALE = (
    *("placement.runner=ray", "placement.num_runners=2", "placement.update_runners=1"),
    *("placement.gpus_per_runner=0", "placement.staleness=1"),
)


def test_a_rule_of_updates_says_what_the_parameters_say():
    overrides = ("rollout.eta=0.6", "update.clip_range=0.2", "update.kl_weight=0.5", "update.num_minibatches=2")
    rule = asdict(update_rule(tiny_params(*overrides, "update.num_epochs=3", "update.micro_batch=5"), 1, SIGMAS))
    assert rule.pop("sigmas") is not None
    assert rule == {
        "sde": "flow",
        "eta": 0.6,
        "clip_range": 0.2,
        "kl_weight": 0.5,
        "cadence": "iteration",
        "num_minibatches": 2,
        "num_epochs": 3,
        "micro_batch": 5,
        "off_policy": False,
    }
    assert torch.equal(update_rule(tiny_params(), 0, SIGMAS).sigmas, SIGMAS)


def test_a_stale_round_is_off_policy_but_the_first_which_the_base_has_rolled_out():
    assert [update_rule(tiny_params(*STALE), number, SIGMAS).off_policy for number in (0, 1, 2)] == [False, True, True]


def test_the_learning_rate_rises_falls_and_is_halved_from_each_named_round_on():
    """Warmup of two rounds; then over four down to nothing; halved from round 3 on and again from round 4 on."""
    how = ("update.learning_rate=1", "update.warmup_rounds=2", "update.decay_rounds=4", "update.final_frac=0")
    plain = tiny_params(*how).update
    assert [learning_rate(plain, number) for number in range(7)] == [0.5, 1, 1, 0.75, 0.5, 0.25, 0]
    halved = tiny_params(*how, "update.halved_after=[3, 4]").update
    assert [learning_rate(halved, number) for number in range(6)] == [0.5, 1, 1, 0.375, 0.125, 0.0625]


def test_the_optimizer_is_the_one_of_params():
    overrides = ("update.betas=[0.8, 0.9]", "update.weight_decay=0.1", "update.max_grad_norm=2", "update.ema_decay=0.5")
    assert asdict(optimizer_settings(tiny_params(*overrides).update)) == {
        "learning_rate": 1e-4,
        "betas": (0.8, 0.9),
        "weight_decay": 0.1,
        "max_grad_norm": 2,
        "ema_decay": 0.5,
    }


def test_a_rule_of_advantages_says_what_the_parameters_say():
    overrides = (
        "fusion=mean",
        "normalise=mixed",
        "std_floor_frac=0.2",
        "std_eps=0.1",
        "clamp=3",
        "reward_weights={judge_a: 2}",
    )
    settings = tiny_params(*(f"integrate.{one}" for one in overrides)).integrate
    assert asdict(integration_rule(settings, [1, 2])) == {
        "reward_weights": {"judge_a": 2},
        "granularity_weights": {1: 1, 2: 1},
        "fusion": "mean",
        "normalise": "mixed",
        "std_floor_frac": 0.2,
        "std_eps": 0.1,
        "clamp": 3,
    }


@pytest.mark.parametrize(
    ("given", "granularities", "weights"),
    [("[1.0, 0.5]", [1, 2], {1: 1, 2: 0.5}), ("[1.0, 0.5]", [2, 1], {2: 1, 1: 0.5}), ("null", [1, 3], {1: 1, 3: 1})],
)
def test_weights_go_with_the_granularities_in_their_order(given, granularities, weights):
    settings = tiny_params(f"integrate.granularity_weights={given}").integrate
    assert integration_rule(settings, granularities).granularity_weights == weights
