"""Evaluations that are known before a round is run, against those that its stages count."""

from itertools import pairwise

import pytest
from methods import DANCE, FLOW, G2RPO, METHODS, MIX
from rounds import new_run, run_round
from tiny import tiny_params

from stages.contract.declared_stages import ROUND_STAGES
from stages.disk.files import read_json
from stages.readings.budget import method_evaluations, round_evaluations, rounds_within

OPTIONS = {
    "granularities": (*G2RPO, "complete.granularities=[1, 2, 3]"),
    "published strides": (*G2RPO, "complete.granularities=[2, 3]", "complete.stride_rule=published"),
    "a draw of steps": (*G2RPO, "rollout.steps_a_round=2", "rollout.step_weights=[1.0, 2.0, 1.0, 3.0]"),
    "a step for each k": (*G2RPO, "update.cadence=step", "update.num_epochs=2", "update.micro_batch=3"),
    "minibatches": (*G2RPO, "update.num_minibatches=4", "update.micro_batch=3"),
    "a KL that weighs": (*MIX, "update.kl_weight=0.1", "update.micro_batch=3", "update.num_minibatches=2"),
    "a random window of own noises": (
        *(*MIX, "rollout.initial_noise=own", "rollout.window_schedule=random"),
        *("complete.granularities=[1, 2]", "update.num_minibatches=4"),
    ),
    "a window with gaps": (*FLOW, "rollout.steps=[1, 3]", "rollout.initial_noise=shared", "complete.granularities=[2]"),
    "passes": (*FLOW, "update.num_epochs=3", "update.micro_batch=7", "update.num_minibatches=2"),
    "a share of own steps": (
        *(*DANCE, "rollout.initial_noise=own", "rollout.steps=[0, 2, 3]", "rollout.sde=cps", "rollout.eta=0.5"),
        *("update.kl_weight=0.1", "update.cadence=step"),
    ),
    "a share of few branches": (*DANCE, "rollout.group_size=2", "update.train_frac=0.2", "update.cadence=step"),
    "a share in minibatches": (*DANCE, "update.num_minibatches=2", "update.micro_batch=2", "update.num_epochs=2"),
}


def counted(run, number):
    return sum(read_json(run.round_folder(number) / f"{stage.name}.json")["evaluations"] for stage in ROUND_STAGES)


@pytest.mark.parametrize("method", METHODS)
def test_a_round_of_each_method_costs_what_was_told_before_it(of_method, method):
    run, params, _ = of_method(method)
    assert [round_evaluations(params, number) for number in range(2)] == [counted(run, number) for number in range(2)]


@pytest.mark.parametrize("overrides", OPTIONS.values(), ids=OPTIONS)
def test_a_round_of_each_option_costs_what_was_told_before_it(overrides):
    run, params, resources = new_run(tiny_params(*overrides))
    for number in range(2):
        run_round(run, params, resources, number)
        run.finish_round(number)
        assert round_evaluations(params, number) == counted(run, number)


def test_the_costs_of_the_methods_by_hand():
    """T = 6, 4 prompts, G = 3, Λ = {1}; the KL is measured at all sites, since one micro-batch holds them."""
    by_hand = {
        # anchor 0..3; branches of k need 5 - k; 4 sites a prompt at 3 + 1
        "g2rpo": 4 * (4 + 3 * (5 + 4 + 3 + 2) + 4 * 4),
        # anchor 0, 1; window (1, 2): one step more a branch, then 3; sites: one shared, 3 own
        "mix_grpo": 4 * (2 + 3 * (1 + 3) + 4 * (1 + 3)),
        # no anchor; 5 steps and the last; 15 sites, and the KL at 32 of the 60
        "flow_grpo": 4 * (3 * (5 + 1) + 3 * 15) + 32,
    }
    assert {name: round_evaluations(tiny_params(*METHODS[name]), 0) for name in by_hand} == by_hand


def test_the_cost_of_a_window_falls_as_it_moves_towards_the_picture_and_rises_as_it_rolls_back():
    # of own noise a branch walks from the start whatever the window; of shared the group walks together up to it
    params = tiny_params(*MIX)
    costs = [round_evaluations(params, number) for number in range(4)]
    assert [before - after for before, after in pairwise(costs)] == [
        4 * (3 - 1),  # three branches complete with a step less, the anchor goes one further
        4 * (3 - 1),
        -2 * 4 * (3 - 1),
    ]


def test_methods_are_not_charged_for_what_is_measured_beside_them():
    """T = 6, 4 prompts, G = 3, one window of 5 steps of own noise: 12 sites a branch's 5 steps, 60 in all."""
    of = {
        "one step": tiny_params(*FLOW),
        "four steps": tiny_params(*FLOW, "update.num_minibatches=4"),
        "a KL that weighs": tiny_params(*FLOW, "update.kl_weight=0.1"),
    }
    walked = 4 * 3 * (5 + 1)
    asked = {name: method_evaluations(params, 0) - walked for name, params in of.items()}
    assert asked == {"one step": 3 * 60, "four steps": 3 * 60, "a KL that weighs": 4 * 60}
    counted = {name: round_evaluations(params, 0) - walked for name, params in of.items()}
    assert counted == {"one step": 3 * 60 + 32, "four steps": 3 * 60 + 60 + 45, "a KL that weighs": 4 * 60}


@pytest.mark.parametrize("method", METHODS)
def test_a_budget_buys_the_rounds_that_it_pays_for_to_the_last_evaluation(method):
    params = tiny_params(*METHODS[method])
    spent = 0
    for number in range(4):
        spent += method_evaluations(params, number)
        assert rounds_within(params, spent) == number + 1
        assert rounds_within(params, spent + 1) == number + 1
        if number:
            assert rounds_within(params, spent - 1) == number


def test_a_budget_that_pays_for_no_round_is_refused():
    params = tiny_params()
    one = method_evaluations(params, 0)
    with pytest.raises(ValueError, match=rf"costs {one} transformer evaluations, got {one - 1}. Raise it, or lower"):
        rounds_within(params, one - 1)
