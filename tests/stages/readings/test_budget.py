"""Evaluations that are known before a round is run; against those that its stages count: test_real_rounds.py."""

from itertools import pairwise

import pytest
from methods import DANCE, FLOW, G2RPO, METHODS, MIX
from refusals import of_preset
from tiny import tiny_params

from stages.readings import budget
from stages.readings.budget import evaluation_cost, method_evaluations, round_evaluations, rounds_within


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
    required = {name: method_evaluations(params, 0) - walked for name, params in of.items()}
    assert required == {"one step": 3 * 60, "four steps": 3 * 60, "a KL that weighs": 4 * 60}
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


def test_a_budget_for_more_rounds_than_a_run_may_have_is_counted_up_to_these(monkeypatch):
    monkeypatch.setattr(budget, "MOST_ROUNDS", 3)
    assert rounds_within(tiny_params(), 10**12) == 3


def test_a_budget_that_pays_for_no_round_is_refused():
    params = tiny_params()
    one = method_evaluations(params, 0)
    with pytest.raises(ValueError, match=rf"costs {one} transformer evaluations, got {one - 1}. Raise it, or lower"):
        rounds_within(params, one - 1)


def test_a_share_of_the_steps_trains_so_much_less():
    """12 branches of 5 steps from their own noises; 3 of the steps train, 3 evaluations each; each walks 5 and 1."""
    params = tiny_params(*DANCE, "rollout.initial_noise=own")
    assert method_evaluations(params, 0) == 12 * (5 + 1) + 12 * 3 * 3


def test_a_shared_place_is_left_by_one_site_whoever_trains_it():
    """From one noise the branches of a prompt share their first place, so that no more than 3 * 3 sites are left."""
    one = tiny_params(*DANCE, "rollout.steps=[0, 1]", "rollout.group_size=2", "update.train_frac=0.5")
    walked = 4 * (1 + 2 * (1 + 4))  # anchor 0; step 1 and four to the picture a branch
    for number in range(4):
        sites = (method_evaluations(one, number) - walked) / 3
        assert 4 * 1 <= sites <= 4 * 2  # both branches leave the shared place, or each one of its own


def test_an_optimizer_step_for_each_k_is_checked_once_more_for_each_later_one():
    """4 windows of 4 sites: the KL at each as before, and 12 log-probabilities before the later three steps."""
    params = tiny_params(*G2RPO)
    each = tiny_params(*G2RPO, "update.cadence=step")
    assert method_evaluations(each, 0) == method_evaluations(params, 0)
    assert round_evaluations(each, 0) - round_evaluations(params, 0) == 3 * 4


@pytest.mark.parametrize(("runners", "paces"), [(1, 0), (2, 0), (3, 3), (4, 0)])
def test_runners_whose_share_is_smaller_keep_pace_with_the_others(runners, paces):
    """8 sites in calls of 2: 3, 3 and 2 sites are 2, 2 and 1 calls, so that one makes a call more, of 3 evaluations."""
    placed = ["placement.runner=ray", f"placement.num_runners={runners}", "update.micro_batch=2"]
    assert round_evaluations(tiny_params(*placed), 0) - round_evaluations(tiny_params(placed[2]), 0) == paces


def test_judging_costs_a_velocity_for_each_step_of_each_caption_and_noise():
    assert evaluation_cost(tiny_params()) == 4 * 1 * 4
    assert evaluation_cost(tiny_params("evaluate.num_noises=2", "evaluate.num_steps=[2, 4]")) == 4 * 2 * (2 + 4)


def test_guidance_sends_two_rows_through_the_network_for_one_velocity():
    with_it, without = (of_preset("tiny-sd3", f"policy.guidance={scale}") for scale in (4.5, 1.0))
    for evaluations in (evaluation_cost, lambda p: method_evaluations(p, 0), lambda p: round_evaluations(p, 0)):
        assert evaluations(with_it) == 2 * evaluations(without) > 0
