"""The section rollout of each method: what it takes, what it refuses, and how one method becomes another."""

from pathlib import Path

import pytest
import refusals
from refusals import SHIPPED, shipped
from tiny import ROOT

from stages.params.file import load_params

PLAIN = (
    *("rollout.steps=[0, 1, 2, 3]", "rollout.num_steps=8", "rollout.group_size=12", "rollout.steps_a_round=null"),
    *(
        "rollout.step_weights=null",
        "prompts.num_prompts=8",
        "update.train_frac=1.0",
        "update.num_minibatches=1",
        "update.cadence=iteration",
    ),
)

MIX = (
    *("rollout.method=mix_grpo", "rollout.window_size=2", "rollout.window_stride=1", "rollout.window_interval=25"),
    *("rollout.window_schedule=progressive", "rollout.initial_noise=shared"),
)
FLOW = ("rollout.method=flow_grpo", "rollout.initial_noise=own")


def load(*overrides):
    return shipped(*PLAIN, *overrides)


def refusal(*overrides):
    return refusals.refusal(*PLAIN, *overrides)


def test_a_method_by_set_takes_over_what_both_have():
    rollout = load(*MIX, "rollout.eta=0.4").rollout
    assert (rollout.method, rollout.eta, rollout.group_size, rollout.steps) == ("mix_grpo", 0.4, 12, (0, 1, 2, 3))
    assert (rollout.window_size, rollout.window_interval, rollout.own_noise) == (2, 25, False)
    assert load(*FLOW).rollout.own_noise
    assert not load("rollout.method=dance_grpo", "rollout.initial_noise=shared").rollout.own_noise


def test_the_order_of_overrides_does_not_matter():
    assert load(*MIX) == load(*MIX[::-1])


def test_the_keys_of_the_former_method_go():
    rollout = load("rollout.steps_a_round=2", *FLOW).rollout
    assert not hasattr(rollout, "steps_a_round")
    back = load(*MIX, "rollout.method=g2rpo", "rollout.steps_a_round=null", "rollout.step_weights=null")
    assert back == load()


def test_a_method_by_set_without_its_keys_reports_each_missing_key():
    message = refusal("rollout.method=mix_grpo")
    for key in ("window_size", "window_stride", "window_interval", "window_schedule", "initial_noise"):
        assert f"rollout.{key}: required, got nothing. Add it" in message
    assert "steps_a_round" not in message
    assert "rollout.initial_noise: required, got nothing" in refusal("rollout.method=dance_grpo")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["rollout.method=ppo"], "rollout.method: one of 'g2rpo', 'mix_grpo', 'flow_grpo', 'dance_grpo' is required"),
        (["rollout.initial_noise=own"], "rollout.initial_noise: unknown key, got 'own'. Remove it or correct it"),
        ([*FLOW, "rollout.window_size=2"], "rollout.window_size: unknown key, got 2"),
        ([*FLOW, "rollout.steps_a_round=2"], "rollout.steps_a_round: unknown key, got 2"),
        ([*FLOW, "rollout.initial_noise=same"], "rollout.initial_noise: input should be 'shared' or 'own', got 'same'"),
        (
            [*MIX, "rollout.window_size=5"],
            "rollout.window_size: at most the 4 steps of rollout.steps is required, got 5",
        ),
        ([*MIX, "rollout.window_size=0"], "rollout.window_size: input should be greater than or equal to 1, got 0"),
        ([*MIX, "rollout.window_stride=0"], "rollout.window_stride: input should be greater than or equal to 1"),
        ([*MIX, "rollout.window_interval=0"], "rollout.window_interval: input should be greater than or equal to 1"),
        ([*MIX, "rollout.window_schedule=decay"], "rollout.window_schedule: input should be 'progressive' or 'random'"),
        ([*FLOW, "rollout.steps=[0, 7]"], "rollout.steps: each step must be at most num_steps - 2 = 6"),
        (["rollout.steps=[]"], "rollout.steps: "),
        (["rollout.sde=ode"], "rollout.sde: input should be 'flow', 'dance' or 'cps', got 'ode'"),
        (["rollout.sde=cps", "rollout.eta=1.2"], "rollout.eta: at most 1 with sde cps, got 1.2. Lower it, as to 0.7"),
        (["rollout.steps_a_round=5"], "rollout.steps_a_round: at most the 4 steps of rollout.steps is required, got 5"),
        (["rollout.step_weights=[1.0, 2.0]"], "rollout.step_weights: one weight for each of the 4 steps of"),
        (["rollout.step_weights=[1.0, 2.0, 0.0, 1.0]"], "rollout.step_weights.2: input should be greater than 0"),
        (["rollout.step_weights=[1.0, 2.0, 1.0, 1.0]"], "null is required if rollout.steps_a_round is null"),
        (["update.train_frac=0.6"], "update.train_frac: 1 is required with rollout.method g2rpo"),
        (
            [*FLOW, "complete.granularities=[1, 2]", "rollout.steps=[6]"],
            "complete.granularities: granularities that reach",
        ),
        (["update.num_minibatches=3"], "got 3 with 8 prompts at cadence iteration. Change one"),
        (
            ["update.num_minibatches=9"],
            "update.num_minibatches: a divisor of prompts.num_prompts is required, and 1 at cadence",
        ),
        (["update.cadence=step", "update.num_minibatches=2"], "got 2 with 8 prompts at cadence step. Change one"),
    ],
)
def test_bad_values_are_refused_with_key_required_got_and_do(overrides, message):
    assert message in refusal(*overrides)


def test_an_eta_above_one_is_for_the_sdes_alone():
    assert load("rollout.sde=flow", "rollout.eta=1.2").rollout.eta == 1.2
    assert load("rollout.sde=cps", "rollout.eta=1.0").rollout.eta == 1.0


def overlay(folder: Path, text: str, base: Path = SHIPPED) -> Path:
    path = folder / "preset.yaml"
    path.write_text(f"extends: {base}\n{text}")
    return path


def test_a_preset_of_another_method_takes_the_place_of_the_whole_section(tmp_path):
    with pytest.raises(ValueError) as caught:
        load_params(overlay(tmp_path, "rollout: {method: flow_grpo, initial_noise: own}"))
    for key in ("num_steps", "shift", "steps", "group_size", "sde", "eta", "micro_batch"):
        assert f"rollout.{key}: required, got nothing" in str(caught.value)
    assert "rollout.initial_noise" not in str(caught.value)


@pytest.mark.parametrize("preset", ["rollout: {method: mix_grpo, window_size: 1}", "rollout: {window_size: 1}"])
def test_a_preset_of_the_same_method_says_only_what_differs(tmp_path, preset):
    base = ROOT / "presets/methods/mix-grpo.yaml"
    rollout, before = (load_params(path).rollout for path in (overlay(tmp_path, preset, base), base))
    assert rollout == before.model_copy(update={"window_size": 1})


def test_a_window_moves_by_the_parameters():
    rollout = load(*MIX, "rollout.window_interval=2").rollout
    assert [rollout.windows(number, 0) for number in range(7)] == [
        *[((0, 1),)] * 2,
        *[((1, 2),)] * 2,
        *[((2, 3),)] * 2,
        ((0, 1),),
    ]
    assert load(*FLOW).rollout.windows(0, 0) == ((0, 1, 2, 3),)
    assert load().rollout.windows(0, 0) == ((0,), (1,), (2,), (3,))
    drawn = load("rollout.steps_a_round=2").rollout
    assert len({drawn.windows(number, 0) for number in range(20)}) == 6
    assert drawn.windows(3, 0) == drawn.windows(3, 0) != drawn.windows(3, 1)
    assert all(len(windows) == 2 for windows in (drawn.windows(number, 0) for number in range(20)))


def test_the_earliest_end_of_a_window_of_any_round():
    assert load("rollout.steps=[2, 0]").rollout.earliest_end == 0  # windows of one step
    assert load(*MIX, "rollout.steps=[3, 1, 0, 2]").rollout.earliest_end == 1  # the first two, in order
    assert load(*FLOW, "rollout.steps=[0, 3]").rollout.earliest_end == 3
    assert load().rollout.own_noise is False
