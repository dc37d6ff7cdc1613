"""The build: the same data everywhere, the same weights on one machine, and a log that tells the truth."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from g2rpo.shapes.base import load_base
from g2rpo.shapes.captions import captions, scene_of
from g2rpo.shapes.judges import Judge, load_judge
from g2rpo.shapes.shipped import shipped_weights
from g2rpo.shapes_build.build import LOG_NAME, Recipes, build
from g2rpo.shapes_build.digests import digest_file, digest_state, fingerprint
from g2rpo.shapes_build.near_misses import near_misses
from g2rpo.shapes_build.train_base import BaseRecipe, base_batch, data_digest, rate_at, threads_and_seed, train_base
from g2rpo.shapes_build.train_judges import JUDGE_RECIPES, contrastive_loss, judge_batch

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def log() -> dict[str, Any]:
    return json.loads((shipped_weights() / LOG_NAME).read_text())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    recipes = Recipes(
        base=BaseRecipe(num_steps=2, batch_size=4, checkpoint_step=2),
        judges={name: replace(recipe, num_steps=2, batch_size=4) for name, recipe in JUDGE_RECIPES.items()},
        repeats=1,
        splits=("test",),
    )
    folder = tmp_path_factory.mktemp("weights")
    return folder, build(folder, recipes=recipes, report=lambda line: None)


def test_the_training_data_are_the_same_on_every_machine(log: dict[str, Any]):
    assert data_digest(BaseRecipe(), 3) == log["base"]["data"] == BASE_DATA_DIGEST


@pytest.mark.slow
def test_the_first_fifty_steps_lead_where_the_log_says(log: dict[str, Any]):
    _, record = train_base(BaseRecipe(), threads=log["fingerprint"]["threads"], stop_after=50)
    again, before = record["checkpoint"], log["base"]["checkpoint"]
    assert again["loss"] == pytest.approx(before["loss"], rel=1e-3)
    assert record["losses"][:2] == pytest.approx(log["base"]["losses"][:2], rel=1e-3)
    if record["fingerprint"] == log["base"]["fingerprint"]:
        assert again == before


def test_the_log_was_made_with_the_shipped_recipes(log: dict[str, Any]):
    recipes = json.loads(json.dumps({name: vars(recipe) for name, recipe in JUDGE_RECIPES.items()}))
    assert log["base"]["recipe"] == vars(BaseRecipe())
    assert {name: log[name]["recipe"] for name in recipes} == recipes


def test_the_shipped_weights_are_those_of_the_log(log: dict[str, Any]):
    folder = shipped_weights()
    made = {path.relative_to(folder).as_posix() for path in folder.rglob("*.safetensors")}
    assert made <= set(log["weights"])
    assert {name: digest_file(folder / name) for name in log["weights"]} == log["weights"]


def test_the_log_says_that_there_is_room_for_alignment(log: dict[str, Any]):
    for split in ("train", "tuning", "test"):
        assert 0.35 <= log["figures"][f"base, {split} captions"]["rule_strict"] <= 0.45


def test_the_loss_fell(log: dict[str, Any]):
    for name in ("base", "judge_a", "judge_b"):
        losses = log[name]["losses"]
        assert losses[-1] < 0.3 * losses[0]


def test_a_build_writes_weights_that_load_and_a_log_that_fits_them(tiny: tuple[Path, dict[str, Any]]):
    folder, record = tiny
    assert json.loads((folder / LOG_NAME).read_text()) == json.loads(json.dumps(record))
    assert set(record["weights"]) == {
        "base/transformer/config.json",
        "base/transformer/diffusion_pytorch_model.safetensors",
        "base/words.safetensors",
        "judge_a.safetensors",
        "judge_b.safetensors",
    }
    assert {name: digest_file(folder / name) for name in record["weights"]} == record["weights"]
    assert load_judge("judge_b", folder=folder).score(torch.zeros(1, 3, 16, 16), ["a red circle"]).shape == (1,)


def test_what_is_shipped_is_rounded_to_half_precision_once(tiny: tuple[Path, dict[str, Any]]):
    state = load_base(tiny[0] / "base").transformer.state_dict()
    assert digest_state(state) == digest_state({name: tensor.half() for name, tensor in state.items()})


def test_training_twice_gives_the_same_bits():
    recipe = BaseRecipe(num_steps=3, batch_size=8, checkpoint_step=3)
    records = [train_base(recipe, threads=2)[1] for _ in range(2)]
    assert records[0]["checkpoint"] == records[1]["checkpoint"]
    other = train_base(replace(recipe, seed=1), threads=2)[1]
    assert other["checkpoint"]["state"] != records[0]["checkpoint"]["state"]


def test_the_build_leaves_threads_and_the_global_generator_as_they_were():
    torch.manual_seed(5)
    expected, threads = torch.rand(1), torch.get_num_threads()
    torch.manual_seed(5)
    with threads_and_seed(3 - min(threads, 2), 0):
        torch.rand(7)
    assert torch.equal(torch.rand(1), expected)
    assert torch.get_num_threads() == threads


def test_a_batch_depends_on_seed_and_step_alone():
    one, two = base_batch(BaseRecipe(), 7), base_batch(BaseRecipe(num_steps=99), 7)
    assert one.texts == two.texts
    assert np.array_equal(one.pictures, two.pictures)
    assert torch.equal(one.noise, two.noise)
    assert base_batch(BaseRecipe(), 8).texts != one.texts


def test_noise_levels_are_inside_the_unit_interval_and_spread():
    sigma = torch.cat([base_batch(BaseRecipe(), step).sigma for step in range(10)])
    assert 0 < sigma.min() < 0.05
    assert 0.95 < sigma.max() < 1
    assert sigma.mean().item() == pytest.approx(0.5, abs=0.03)


def test_the_learning_rate_warms_up_holds_and_decays_to_two_per_cent():
    recipe = BaseRecipe(num_steps=1000)
    assert rate_at(recipe, 0) == pytest.approx(2e-5)
    assert rate_at(recipe, 99) == rate_at(recipe, 600) == pytest.approx(2e-3)
    assert rate_at(recipe, 800) == pytest.approx(1.02e-3)
    assert rate_at(recipe, 1000) == pytest.approx(4e-5)


def test_a_digest_changes_with_any_value_name_or_shape():
    state = {"a": torch.zeros(2, 3), "b": torch.ones(4)}
    changed = (
        {"a": torch.zeros(2, 3), "b": torch.tensor([1.0, 1.0, 1.0, 1.0 + 1e-6])},
        {"a": torch.zeros(3, 2), "b": torch.ones(4)},
        {"a": torch.zeros(2, 3), "c": torch.ones(4)},
        {"a": torch.zeros(2, 3)},
    )
    assert digest_state(dict(reversed(state.items()))) == digest_state(state)
    assert len({digest_state(state), *map(digest_state, changed)}) == 5


def test_a_fingerprint_names_the_machine_and_not_its_user():
    assert set(fingerprint()) == {"torch", "numpy", "capability", "cpu", "threads"}


def test_a_judge_sees_no_caption_twice_and_only_its_own_near_misses():
    batch = judge_batch(JUDGE_RECIPES["judge_a"], 0)
    assert len(set(batch.texts)) == len(batch.texts)
    for text, misses in zip(batch.texts, batch.misses, strict=True):
        assert set(misses) <= {miss for group in near_misses(text) for miss in group}


def test_captions_of_the_same_things_are_not_held_against_a_picture():
    batch = judge_batch(JUDGE_RECIPES["judge_b"], 0)
    things = [sorted(scene_of(text).things) for text in batch.texts]
    expected = [[one == two for two in things] for one in things]
    assert batch.same_things.tolist() == expected
    assert batch.same_things.sum() > len(batch.texts)


def test_the_judges_learn_from_different_pictures():
    batches = [judge_batch(recipe, 0) for recipe in JUDGE_RECIPES.values()]
    assert batches[0].texts != batches[1].texts


def test_the_contrastive_loss_of_a_judge_that_sees_nothing_is_the_log_of_the_choices():
    class Blind(Judge):
        def see(self, images: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(images), 64)

        def read(self, numbers: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(numbers), 64)

    batch = judge_batch(replace(JUDGE_RECIPES["judge_a"], batch_size=2, num_near_misses=6), 0)
    assert not batch.same_things[0, 1]
    expected = (np.log(2 + 6) + np.log(2)) / 2
    assert contrastive_loss(Blind(), batch, 0.1).item() == pytest.approx(expected)


def test_uniform_captions_meet_every_kind():
    kinds = [scene_of(text).kind for text in base_batch(BaseRecipe(), 0).texts]
    assert set(kinds) == {scene_of(text).kind for text in captions()}


BASE_DATA_DIGEST = "545851b8242fa6bebcc0584228041ab217b8725e9c62b155821f54b9a5690c65"
