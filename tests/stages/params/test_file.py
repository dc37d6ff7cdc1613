from pathlib import Path

import pytest
import yaml
from refusals import SHIPPED, refusal

from stages.params.file import load_params, load_stored_params, written


def test_the_shipped_parameters_are_valid():
    params = load_params(SHIPPED)
    assert (params.rollout.group_size, params.integrate.std_eps) == (6, 1e-8)


def test_an_override_replaces_one_value():
    params = load_params(SHIPPED, ["complete.granularities=[1, 2]", "integrate.reward_weights.judge_a=2"])
    assert params.complete.granularities == (1, 2)
    assert params.integrate.reward_weights == {"judge_a": 2.0}


def test_numbers_in_scientific_notation_need_no_point():
    assert load_params(SHIPPED, ["update.learning_rate=2e-6"]).update.learning_rate == 2e-6


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "rollout.group_size=1",
            "rollout.group_size: input should be greater than or equal to 2, got 1. Change it",
        ),
        ("rollout.eta=0", "rollout.eta: input should be greater than 0, got 0"),
        ("run.rounds=ten", "run.rounds: input should be a valid integer, got 'ten'"),
        (
            "rollout.groupsize=12",
            "rollout.groupsize: unknown key, got 12. Remove it or correct it; known here: num_steps",
        ),
        ("sampling.eta=1", "sampling: unknown key"),
        ("update.cadence=round", "update.cadence: input should be 'iteration' or 'step', got 'round'"),
        ("rollout.steps=[3]", "each step must be at most num_steps - 2 = 2"),
        ("rollout.steps=[0, 0]", "rollout.steps: distinct values are required"),
        ("score.rewards=[judge_b]", "integrate.reward_weights: one weight for each of score.rewards ['judge_b']"),
        ("integrate.reward_weights.judge_a=0", "at least one must be above 0"),
        ("update.learning_rate=.nan", "update.learning_rate: input should be"),
        ("rollout.steps=3", "rollout.steps: input should be a valid list, got 3"),
        ("resources.quantise=int4", "resources.quantise: input should be 'int8', got 'int4'"),
        ("rounds", "has the form section.key=value, got 'rounds'"),
        ("run=3", "has the form section.key=value"),
        ("run.seed.deeper=3", "could not be applied"),
        ("run.seed=[", "line 1 of the override of run.seed: YAML is required"),
    ],
)
def test_bad_values_are_refused_with_key_required_got_and_do(override, message):
    assert message in refusal(override)


def test_a_refusal_fits_a_screen_whatever_the_number_and_length_of_keys(tmp_path):
    assert len(refusal(f"run.{'x' * 5_000}=[")) < 1_000
    assert len(refusal(f"{'x' * 5_000}={{}}")) < 1_000
    file = tmp_path / "params.yaml"
    many = "".join(f"key{number}: {'x' * 200}\n" for number in range(1_000))
    file.write_text(f"extends: {SHIPPED}\n{many}", encoding="utf-8")
    with pytest.raises(ValueError, match="and 99. more faults") as refused:
        load_params(file)
    assert len(str(refused.value)) < 4_000


def test_every_fault_is_reported_at_once():
    message = refusal("rollout.group_size=1", "run.rounds=0")
    assert "rollout.group_size" in message
    assert "run.rounds" in message
    assert message.startswith("The parameters are not valid; nothing was started.")


def test_a_missing_key_is_named(tmp_path):
    tree = yaml.safe_load(SHIPPED.read_text())
    del tree["update"]["clip_range"]
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(ValueError, match=r"update.clip_range: required, got nothing. Add it"):
        load_params(tmp_path / "p.yaml")


@pytest.mark.parametrize("content", ["[1, 2]", ""])
def test_files_that_hold_no_parameters_are_refused(tmp_path, content):
    (tmp_path / "p.yaml").write_text(content)
    with pytest.raises(ValueError, match=r"p\.yaml must"):
        load_params(tmp_path / "p.yaml")


def test_a_missing_file_is_refused():
    with pytest.raises(ValueError, match="does not exist. Correct --params FILE"):
        load_params(Path("nowhere.yaml"))


def preset(tmp_path, text):
    path = tmp_path / "preset.yaml"
    path.write_text(f"extends: {SHIPPED}\n{text}")
    return path


def test_a_key_of_a_preset_takes_the_place_of_that_of_params(tmp_path):
    params = load_params(preset(tmp_path, "update: {learning_rate: 2.0e-6}"))
    assert params.update.learning_rate == 2e-6
    assert params.update.clip_range == load_params(SHIPPED).update.clip_range


def test_a_mapping_of_a_preset_takes_the_place_of_the_whole(tmp_path):
    judged = "score: {rewards: [judge_b]}\nintegrate: {reward_weights: {judge_b: 2.0}}"
    assert load_params(preset(tmp_path, judged)).integrate.reward_weights == {"judge_b": 2.0}


def test_an_override_goes_over_a_preset(tmp_path):
    assert load_params(preset(tmp_path, "run: {seed: 3}"), ["run.seed=4"]).run.seed == 4


def test_a_preset_may_extend_a_preset(tmp_path):
    preset(tmp_path, "run: {seed: 3, rounds: 5}")
    (tmp_path / "second.yaml").write_text("extends: preset.yaml\nrun: {seed: 4}")
    params = load_params(tmp_path / "second.yaml")
    assert (params.run.seed, params.run.rounds) == (4, 5)


def test_a_section_of_another_method_takes_the_place_of_the_whole_and_one_of_the_same_is_laid_over(tmp_path):
    assert load_params(preset(tmp_path, "rollout: {method: g2rpo, group_size: 3}")).rollout.group_size == 3
    with pytest.raises(ValueError, match=r"rollout.num_steps: required, got nothing"):
        load_params(preset(tmp_path, "rollout: {method: flow_grpo, initial_noise: own}"))


def test_an_override_by_another_method_drops_the_keys_that_only_the_former_had():
    flow = ["rollout.method=flow_grpo", "rollout.initial_noise=own", "update.train_frac=1.0"]
    rollout = load_params(SHIPPED, flow).rollout
    assert rollout.method == "flow_grpo"
    assert "steps_a_round" not in type(rollout).model_fields
    assert "ppo" in refusal("rollout.method=ppo")


def test_parameters_are_written_as_a_file_that_says_the_same(tmp_path):
    params = load_params(SHIPPED, ["update.learning_rate=2e-6", "rollout.shift=model", "resources.quantise=null"])
    (tmp_path / "params.yaml").write_text(written(params))
    assert load_params(tmp_path / "params.yaml") == params
    assert (tmp_path / "params.yaml").read_text().startswith("run:\n")


def test_the_file_of_a_run_extends_no_other(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text(written(load_params(SHIPPED)), encoding="utf-8")
    assert load_stored_params(file, ["run.rounds=7"]).run.rounds == 7
    file.write_text(f"extends: {SHIPPED}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="extends: unknown key"):
        load_stored_params(file)


def test_an_override_that_is_no_unicode_is_refused_in_words():
    for odd in ("\ud800", "\udc80"):
        assert "UTF-8 is required" in refusal(f"run.seed={odd}")
