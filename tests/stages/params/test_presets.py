"""Presets: strict overlays on params.yaml, and the faults of sections that differ by family or kind."""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from random_bases import PRESETS
from refusals import of_preset
from tiny import ROOT

from g2rpo.tree import completion_tree
from stages.params.file import load_params, written

SHIPPED = sorted(path for path in (ROOT / "presets").rglob("*.yaml") if "\nextends: " in path.read_text())
HANG_ON_NOTHING = {"methods", "compare"}
RECIPE = {
    "prompts": ("num_prompts",),
    "complete": ("granularities",),
    "rollout": ("num_steps", "steps", "group_size", "sde", "eta"),
    "update": ("learning_rate", "warmup_rounds", "decay_rounds", "final_frac"),
}
"""Keys that the recipe of the shapes world may change without changing another preset."""
METHODS = {
    "g2rpo": ("flow", 0.7),
    "g2rpo-lambda1": ("flow", 0.7),
    "mix-grpo": ("flow", 0.7),
    "flow-grpo": ("flow", 0.7),
    "dance-grpo": ("dance", 0.3),
}
"""presets/methods, with their step law and its noise scale."""


def preset(tmp_path, text):
    path = tmp_path / "preset.yaml"
    path.write_text(f"extends: {ROOT / 'params.yaml'}\n{text}")
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_preset_is_valid_and_says_only_what_differs(path):
    """Those of methods and comparisons depend on no default of params.yaml: they may repeat it.

    A section of another family or method replaces the whole section, so it has every key.
    """
    params = load_params(path).model_dump(mode="json")
    preset = yaml.safe_load(path.read_text())
    base = load_params(path.parent / preset.pop("extends")).model_dump(mode="json")
    for section, keys in preset.items():
        whole = any(base[section].get(tag) != keys.get(tag, base[section].get(tag)) for tag in ("family", "method"))
        for key, value in keys.items():
            assert params[section][key] == value
            differs = base[section].get(key, "nothing") != value
            free = path.parent.name in HANG_ON_NOTHING or key in RECIPE.get(section, ())
            assert whole or differs or free, f"{section}.{key} says what it extends says"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_no_shipped_preset_depends_on_the_recipe_of_the_shapes_world(tmp_path, path):
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, keys in RECIPE.items():
        for key in keys:
            del tree[section][key]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))
    assert load_params(tmp_path / path.relative_to(ROOT)) == load_params(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rollout: {groupsize: 3}", "rollout.groupsize: unknown key, got 3"),
        ("rolout: {eta: 1}", "rolout: unknown key"),
        ("policy: {family: flux2}", r"policy.family: one of 'shapes', 'flux1', 'sd3' is required, got 'flux2'"),
        ("policy: {family: flux1, path: x}", "policy.revision: required, got nothing"),
        ("rewards: {hps: {kind: hpsv3}}", r"rewards.hps.kind: one of 'hps', .* is required, got 'hpsv3'"),
        (
            "rewards: {r: {kind: jpeg, quality: 99}}",
            "rewards.r.quality: input should be less than or equal to 95, got 99",
        ),
        (
            "rewards: {r: {kind: jpeg, quality: 9, speed: 1}}",
            "rewards.r.speed: unknown key, got 1. Remove it or correct it; known here: kind, quality",
        ),
    ],
)
def test_faults_of_a_preset_are_reported_in_its_own_words(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        load_params(preset(tmp_path, text))


def test_quantised_weights_are_for_an_adapter_only():
    assert of_preset("tiny-flux", "resources.quantise=int8").resources.quantise == "int8"
    with pytest.raises(ValueError, match=r"got int8 with a flux1 policy without policy.lora. Set policy.lora, or"):
        of_preset("tiny-flux", "resources.quantise=int8", "policy.lora=null")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_preset_written_in_full_says_the_same(path, tmp_path):
    (tmp_path / "params.yaml").write_text(written(load_params(path)))
    assert load_params(tmp_path / "params.yaml") == load_params(path)


def test_the_page_of_rewards_shows_what_is_read(tmp_path):
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/rewards.md").read_text(), re.DOTALL)
    rewards = load_params(preset(tmp_path, block)).rewards
    kinds = {settings.kind for settings in rewards.values()}
    assert kinds == {"hps", "clip_score", "pick_score", "image_reward", "aesthetic", "jpeg", "remote"}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_its_own_rollout_on_the_shapes_world_and_on_flux(name):
    shapes, flux = (load_params(ROOT / "presets" / path) for path in (f"methods/{name}.yaml", flux_preset(name)))
    assert shapes.rollout.method == flux.rollout.method == name.removesuffix("-lambda1").replace("-", "_")
    assert (shapes.rollout.sde, shapes.rollout.eta) == METHODS[name]
    for params in (shapes, flux):
        assert max(params.rollout.steps) <= params.rollout.num_steps - 2
        assert params.update.train_frac == (0.6 if name == "dance-grpo" else 1.0)
        assert (params.complete.granularities == (1,)) == (name != "g2rpo")
        assert getattr(params.rollout, "initial_noise", "shared") == ("own" if name == "flow-grpo" else "shared")


def flux_preset(name):
    return "flux1-dev-hps-clip.yaml" if name == "g2rpo" else f"flux1-dev-{name}.yaml"


def test_windows_of_the_published_recipes_by_hand():
    def window(name, number):
        (window,) = load_params(ROOT / f"presets/flux1-dev-{name}.yaml").rollout.windows(number, 0)
        return window

    # MixGRPO: w = 4, s = 1, tau = 25; the last of 300 rounds is at place 299 // 25 = 11
    assert [window("mix-grpo", number)[0] for number in (0, 24, 25, 299)] == [0, 0, 1, 11]
    assert window("mix-grpo", 299) == (11, 12, 13, 14)
    assert [window("mix-grpo-flash", number)[0] for number in (19, 20, 299)] == [0, 1, 14]
    assert {window("flow-grpo-fast", number) for number in range(5)} == {(0, 1, 2)}
    assert window("flow-grpo", 0) == (0, 1, 2, 3, 4)
    assert window("dance-grpo", 0) == tuple(range(24))
    shapes = load_params(ROOT / "presets/methods/mix-grpo.yaml").rollout
    assert [shapes.windows(number, 0)[0] for number in (0, 10, 49, 50)] == [(0, 1), (1, 2), (4, 5), (0, 1)]


def test_the_flash_preset_costs_a_picture_what_its_header_says():
    params = load_params(ROOT / "presets/flux1-dev-mix-grpo-flash.yaml")
    costs = []
    for number in range(0, 300, 20):
        (window,) = params.rollout.windows(number, 0)
        tree = completion_tree(25, window[-1] + 1, params.complete.granularities, params.complete.stride_rule)
        costs.append(window[-1] + 1 + sum(node.level < 25 for depth in tree for node in depth))
    assert (costs[0], sum(costs) / 15) == (11, 16.0)


def test_the_tiny_presets_lie_where_the_tests_look():
    assert set(PRESETS.values()) <= set(SHIPPED)
    assert all(Path(path).is_file() for path in PRESETS.values())
