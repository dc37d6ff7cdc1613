"""Readings of real rounds: each evaluation as computed in advance, each number of the tables."""

import pytest
from methods import DANCE, FLOW, G2RPO, METHODS, MIX
from rounds import new_run, run_round
from tiny import tiny_params

from stages.contract.declared_stages import ROUND_STAGES
from stages.disk.files import read_json
from stages.disk.tables import read_table
from stages.readings.budget import round_evaluations
from stages.readings.trace import trace_prompt

pytestmark = pytest.mark.long

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


DRAWN = {
    *("a draw of steps", "a KL that weighs", "a random window of own noises"),
    *("a share of own steps", "a share of few branches", "a share in minibatches"),
}
"""Options whose rounds may differ in what they cost."""
QUICK = {"a random window of own noises", "a share in minibatches"}
"""Options that have most of the others in them."""


def counted(run, number):
    return sum(read_json(run.round_folder(number) / f"{stage.name}.json")["evaluations"] for stage in ROUND_STAGES)


@pytest.mark.parametrize("method", METHODS)
def test_a_round_of_each_method_costs_what_was_computed_before_it(of_method, method):
    run, params, _ = of_method(method)
    assert [round_evaluations(params, number) for number in range(2)] == [counted(run, number) for number in range(2)]


@pytest.mark.parametrize(
    "option", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in OPTIONS]
)
def test_a_round_of_each_option_costs_what_was_computed_before_it(option):
    overrides = OPTIONS[option]
    few = () if "update.num_minibatches=4" in overrides else ("prompts.num_prompts=2",)
    run, params, resources = new_run(tiny_params(*overrides, *few))
    for number in range(2 if option in DRAWN else 1):  # without a draw and a moving window each costs the same
        run_round(run, params, resources, number)
        run.finish_round(number)
        assert round_evaluations(params, number) == counted(run, number)


def test_a_trace_holds_the_numbers_of_the_tables(finished):
    run = finished[0]
    run.finish_round(0)
    folder = run.round_folder(0)
    name = read_table(folder / "prompts")["prompt_id"][0].as_py()
    text = trace_prompt(run, 0, name)
    rewards = read_table(folder / "rewards").to_pandas()
    advantages = read_table(folder / "advantages").to_pandas()
    for value in rewards[rewards.prompt_id == name]["value"]:
        assert f"{value:.4f}" in text
    for value in advantages[advantages.prompt_id == name]["advantage"]:
        assert f"advantage {value:+.3f}" in text
    for value in read_table(folder / "transitions").to_pandas().query("prompt_id == @name")["seed"]:
        assert f"seed {value}" in text
    assert "step 0: sigma 1.0000 -> 0.8571" in text
    assert "optimizer step 0: loss" in text
