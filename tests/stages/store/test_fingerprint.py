import shutil

import pytest
from safetensors.torch import load_file, save_file
from tiny import tiny_params

from g2rpo.shapes.shipped import shipped_base
from stages.store.fingerprint import Fingerprint
from stages.texts.lists import write_prompt_lists


def key(*overrides, device="cpu"):
    return Fingerprint.of(tiny_params(*overrides), device).key


def test_a_fingerprint_names_every_value_by_its_section():
    values = Fingerprint.of(tiny_params(), "cuda").values
    assert values["rollout.eta"] == 0.7
    assert values["resources.device"] == "cuda"
    assert values["origins.algorithm_version"] == 6
    origins = {name for name in values if name.startswith("origins.")}
    assert origins == {
        *("origins.policy", "origins.prompts/train", "origins.rewards/judge_a", "origins.algorithm_version")
    }
    assert not [name for name in values if name.startswith(("evaluate.", "report.", "guards.", "retention."))]


def test_a_key_is_16_hex_digits_of_the_values_whatever_their_order():
    one, other = Fingerprint({"a.b": 1, "c.d": 2}), Fingerprint({"c.d": 2, "a.b": 1})
    assert one.key == other.key != Fingerprint({"a.b": 1, "c.d": 3}).key
    assert len(one.key) == 16
    assert int(one.key, 16) > 0


def test_differences_are_reported_value_by_value():
    one = Fingerprint({"update.learning_rate": 0.0001, "run.seed": 0, "origins.policy": "9f"})
    other = Fingerprint({"update.learning_rate": 0.001, "run.seed": 0, "rollout.eta": 0.5})
    assert one.differences(other) == [
        "origins.policy: 9f, got nothing",
        "rollout.eta: nothing, got 0.5",
        "update.learning_rate: 0.0001, got 0.001",
    ]
    assert one.differences(one) == []


@pytest.mark.parametrize(
    "override",
    [
        "run.seed=1",
        "update.learning_rate=1e-5",
        "rollout.eta=0.5",
        "resources.threads=2",
        "complete.micro_batch=7",
        "integrate.clamp=4",
        "prompts.shard_size=4",
    ],
)
def test_what_changes_the_numbers_changes_the_key(override):
    assert key(override) != key()


def test_another_kind_of_device_changes_the_key():
    assert key(device="cuda") != key()


def test_other_weights_change_the_key_but_not_where_they_lie(tmp_path):
    copy, moved = tmp_path / "copy", tmp_path / "moved"
    for folder in (copy, moved):
        shutil.copytree(shipped_base(), folder)
    assert key(f"policy.path={copy}") == key(f"policy.path={moved}") == key()
    words = copy / "words.safetensors"
    save_file({name: tensor * 2 for name, tensor in load_file(words).items()}, words)
    assert key(f"policy.path={copy}") != key()


def test_another_list_of_prompts_changes_the_key_but_not_where_it_lies(tmp_path):
    params = tiny_params()
    write_prompt_lists(params, tmp_path)
    assert key(f"prompts.path={tmp_path}") == key()
    shutil.rmtree(tmp_path / "train")
    shutil.copytree(tmp_path / "tuning", tmp_path / "train")
    assert key(f"prompts.path={tmp_path}") != key()


@pytest.mark.parametrize(
    "override",
    ["run.rounds=99", "evaluate.every=3", "report.num_noises=2", "retention.rounds=1", "tracking.uri=x"],
)
def test_more_rounds_evaluation_and_tracking_go_on_with_the_same_run(override):
    assert key(override) == key()
