"""The stage `update` on a policy of one weight: which steps it learns from, what it writes, what it refuses."""

import numpy as np
import pytest
from linear_resources import TEXTS, LinearResources, PaintingLinear, Workshop, store_policy
from methods import DANCE

from g2rpo.windows import trained_steps
from stages import rollout
from stages.disk.policy_files import read_weights
from stages.disk.policy_state import policy_state
from stages.disk.tables import shard_evaluations, shard_stamp
from stages.engine.rules import optimizer_settings
from stages.update import run

INPUTS, OUTPUTS = ("prompts", "anchors", "transitions", "advantages"), ("old_log_probs", "updates", "policy")
WEIGHT, RATE = 0.5, 0.01
STALE = (
    *("placement.runner=ray", "placement.num_runners=2", "placement.update_runners=1"),
    *("placement.gpus_per_runner=0", "placement.staleness=1"),
)


def rolled_out(folder, *overrides):
    """Two branches of two prompts, rolled out by weight 1/2; the first has the advantage 1, the other -1."""
    shop = Workshop(folder, "update.clip_range=0.2", f"update.learning_rate={RATE}", *overrides, weight=WEIGHT)
    shop.give_prompts()
    rollout.run(shop.job(["prompts"], ["anchors", "transitions"]), shop.resources)
    keys = list(dict.fromkeys(key[:3] for key in shop.rows("transitions")))
    names, windows, branches = zip(*keys, strict=True)
    values = {"advantage": [1.0 - 2 * branch for branch in branches], "clamped": [False] * len(keys)}
    shop.give("advantages", prompt_id=names, window=windows, branch=branches, **values, summands=[[]] * len(keys))
    return shop


def updated(shop, **how):
    run(shop.job(INPUTS, OUTPUTS, **how), shop.resources)
    return shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Two passes of an optimizer step each, over four sites that two branches each left."""
    return updated(rolled_out(tmp_path_factory.mktemp("update"), "update.num_epochs=2"))


def test_old_log_probabilities_are_those_of_the_rollout_where_its_policy_is_the_one_that_learns(shop):
    old, rolled = shop.rows("old_log_probs"), shop.rows("transitions")
    assert list(old) == list(rolled)
    for key, row in old.items():
        assert row["log_prob_old"] == pytest.approx(rolled[key]["log_prob"], abs=1e-6)


def test_a_row_an_optimizer_step_whose_first_ratio_is_one_and_whose_second_follows_the_advantages(shop):
    first, second = shop.read("updates").to_pylist()
    assert (first["optimizer_step"], second["optimizer_step"]) == (0, 1)
    assert first["ratio_min"] == first["ratio_mean"] == first["ratio_max"] == 1
    assert first["loss"] == pytest.approx(0, abs=1e-6)  # advantages 1 and -1 at ratio 1
    assert second["loss"] < -1e-5  # the first branches have become likelier than the others
    assert (first["kl"], second["kl"] > 0) == (0, True)
    assert {row["learning_rate"] for row in (first, second)} == {RATE}
    assert 0 <= first["log_prob_gap"] == second["log_prob_gap"] < 1e-6


def test_the_policy_is_two_steps_of_the_learning_rate_away(shop):
    """AdamW's first step is the learning rate whatever the gradient, and the second nearly so."""
    folder = shop.folder / "policy"
    assert policy_state(folder).num_steps == 2
    moved = abs(read_weights(folder, averaged=False)["weight"].item() - WEIGHT)
    assert moved == pytest.approx(2 * RATE, rel=0.05)


def test_it_is_charged_for_every_forward_and_backward_and_for_the_base(shop):
    """Four sites, 3 each for forward and backward and 1 for the KL, in two passes."""
    assert shard_evaluations(shop.folder / "updates", 0) == 2 * 4 * (3 + 1)
    assert {shard_stamp(shop.folder / table, 0) for table in ("updates", "old_log_probs")} == {"made"}


def test_what_was_trained_is_held_and_its_files_are_not_read_again(shop):
    learning, settings = shop.resources.learning, optimizer_settings(shop.params.update)
    read = LinearResources(WEIGHT).learning.trainer(shop.folder / "policy", settings)
    (shop.folder / "policy/weights.safetensors").unlink()
    (shop.folder / "policy/optimizer.safetensors").unlink()
    held = learning.trainer(shop.folder / "policy", settings)
    assert held.num_steps == read.num_steps == 2
    assert held.weights()["weight"].item() == read.weights()["weight"].item() != WEIGHT


def test_of_each_branch_a_share_of_its_steps_is_trained(tmp_path):
    """int(0.6 * 5) = 3 of five steps, drawn by the prompt's noise and the branch."""
    shop = updated(rolled_out(tmp_path, *DANCE))
    seeds = {row["prompt_id"]: row["noise_seed"] for row in shop.read("prompts").to_pylist()}
    expected = {
        (name, 0, branch, step)
        for name in TEXTS
        for branch in (0, 1)
        for step in trained_steps((0, 1, 2, 3, 4), 0.6, seeds[name], branch)
    }
    assert set(shop.rows("old_log_probs")) == expected
    assert len(expected) == 2 * 2 * 3


def test_a_stale_round_is_learned_by_the_log_probabilities_of_whoever_rolled_it_out(tmp_path):
    shop = rolled_out(tmp_path, *STALE)
    store_policy(tmp_path / "newer", WEIGHT + 0.1)
    updated(shop, number=1, policy="newer")
    rolled = shop.rows("transitions")
    assert {key: row["log_prob_old"] for key, row in shop.rows("old_log_probs").items()} == {
        key: row["log_prob"] for key, row in rolled.items()
    }
    (report,) = shop.read("updates").to_pylist()
    assert report["ratio_min"] < 1 < report["ratio_max"]
    assert report["log_prob_gap"] == 0


def test_the_kl_is_to_the_base_and_not_to_the_policy_before_the_round(tmp_path):
    """Velocities differ by the weights' difference times x, and the KL is the square of that."""
    measured = []
    for away in (0.1, 0.2):
        shop = rolled_out(tmp_path / str(away))
        shop.resources.base = PaintingLinear(WEIGHT - away)
        (report,) = updated(shop).read("updates").to_pylist()
        measured.append(report["kl"])
    assert measured[0] > 1e-4
    assert measured[1] == pytest.approx(4 * measured[0], rel=1e-4)


def test_tables_of_another_policy_are_refused_with_the_gap(tmp_path):
    shop = rolled_out(tmp_path)
    store_policy(tmp_path / "other", WEIGHT + 0.1)
    with pytest.raises(
        ValueError, match=r"agree on log-probabilities to 1e-05, got a difference of .*raise update.max"
    ):
        updated(shop, policy="other")
    assert not (tmp_path / "updates").exists()


def test_a_step_without_an_advantage_or_without_an_anchor_is_refused(tmp_path):
    shop = rolled_out(tmp_path)
    anchors = shop.read("anchors")
    columns = {name: anchors[name].to_pylist()[2:] for name in anchors.column_names}
    columns |= {name: np.array(columns[name], np.float32) for name in ("latents", "velocity")}
    for shard in (0, 1):
        (tmp_path / "anchors" / f"part-0000{shard}.parquet").unlink()
    shop.give("anchors", **columns)
    with pytest.raises(
        ValueError, match=r"Each row of transitions needs a row of anchors .* got none for \('a', -1, 0\)"
    ):
        updated(shop)
    shop.give("advantages", prompt_id=["a"], window=[0], branch=[0], advantage=[1.0], clamped=[False], summands=[[]])
    with pytest.raises(
        ValueError, match=r"Each row of transitions needs a row of advantages .* none for \('a', 0, 1\)"
    ):
        updated(shop)
