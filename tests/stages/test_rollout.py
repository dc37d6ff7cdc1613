"""The stage `rollout` on a policy without weights, v = words sigma: its anchors and steps as derived by hand."""

import math

import numpy as np
import pytest
from linear_resources import SEEDS, SIGMAS, TEXTS, Workshop
from methods import DANCE, FLOW

from g2rpo.positions import position_seed
from g2rpo.seeding import noise
from stages.disk.tables import SHARED, shard_evaluations, shard_numbers, shard_path
from stages.rollout import run

ETA = 0.7


def rolled_out(folder, *overrides, **how):
    shop = Workshop(folder, *overrides)
    shop.give_prompts()
    run(shop.job(["prompts"], ["anchors", "transitions"], **how), shop.resources)
    return shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Two prompts, steps 0 and 1 of four, two branches at each."""
    return rolled_out(tmp_path_factory.mktemp("rollout"))


def drawn(seed):
    """The noise of a seed: three numbers."""
    return noise([seed], (3,))[0].numpy()


def test_every_prompt_step_and_branch_has_its_row_in_the_shard_of_its_prompt(shop):
    keys = [(p, k, b, k) for p in TEXTS for k in (0, 1) for b in (0, 1)]
    assert list(shop.rows("transitions")) == keys
    assert list(shop.rows("anchors")) == [(p, SHARED, k) for p in TEXTS for k in (0, 1)]
    assert shard_numbers(shop.folder / "transitions") == shard_numbers(shop.folder / "anchors") == [0, 1]
    assert {row["origin"] for row in shop.rows("transitions").values()} == {SHARED}
    assert shop.resources.encoded == [[*TEXTS.values()]]


def test_the_anchor_starts_at_the_prompts_noise_and_goes_by_the_ode(shop):
    """v = c sigma, so x_1 = x_0 + (6/7 - 1) c."""
    anchors = shop.rows("anchors")
    for name, c in (("a", 2), ("b", 3)):
        first, second = (anchors[name, SHARED, k] for k in (0, 1))
        np.testing.assert_allclose(first["latents"], drawn(SEEDS[name]), atol=1e-6)
        np.testing.assert_allclose(first["velocity"], [c] * 3, atol=1e-6)
        np.testing.assert_allclose(second["latents"], drawn(SEEDS[name]) - c / 7, atol=1e-6)
        np.testing.assert_allclose(second["velocity"], [c * 6 / 7] * 3, atol=1e-6)
        assert (second["sigma"], second["sigma_next"]) == pytest.approx(SIGMAS[1:3])


def test_a_step_is_that_of_the_flow_sde_with_the_noise_of_its_row(shop):
    """At step 1, sigma = 6/7 and dt = -4/21: s^2 = eta^2 sigma / (1 - sigma) = 0.49 * 6, std^2 = s^2 * 4/21 = 0.56,
    mean = x + [v + s^2 / (2 sigma) (x + v / 7)] dt with s^2 / (2 sigma) = 1.715."""
    anchors, transitions = shop.rows("anchors"), shop.rows("transitions")
    for (name, window, branch, step), row in transitions.items():
        assert row["seed"] == position_seed("branch", SEEDS[name], window, branch, step)
        eps = drawn(row["seed"])
        if step == 1:
            x, v = (np.array(anchors[name, SHARED, 1][column]) for column in ("latents", "velocity"))
            mean = x - (v + 1.715 * (x + v / 7)) * 4 / 21
            np.testing.assert_allclose(row["next_latents"], mean + math.sqrt(0.56) * eps, atol=1e-5)
            at_random = -(eps**2).mean() / 2 - math.log(0.56) / 2 - math.log(2 * math.pi) / 2
            assert row["log_prob"] == pytest.approx(at_random, abs=1e-5)
        assert (row["sigma"], row["sigma_next"]) == pytest.approx(SIGMAS[step : step + 2])
    assert len({row["seed"] for row in transitions.values()}) == len(transitions)


def test_a_shard_is_charged_the_steps_that_its_anchors_visit(shop):
    assert [shard_evaluations(shop.folder / "transitions", shard) for shard in (0, 1)] == [2, 2]
    assert shard_evaluations(shop.folder / "anchors", 0) == 0


def test_only_the_requested_shards_are_made_and_existing_ones_stay(tmp_path):
    shop = rolled_out(tmp_path, shards=[1])
    assert shard_numbers(tmp_path / "transitions") == [1]
    before = shard_path(tmp_path / "transitions", 1).stat().st_mtime_ns
    run(shop.job(["prompts"], ["anchors", "transitions"]), shop.resources)
    assert shard_numbers(tmp_path / "transitions") == [0, 1]
    assert shard_path(tmp_path / "transitions", 1).stat().st_mtime_ns == before


def test_branches_with_noises_of_their_own_walk_every_step_alone(tmp_path):
    shop = rolled_out(tmp_path, *FLOW)
    anchors, transitions = shop.rows("anchors"), shop.rows("transitions")
    assert set(anchors) == {(p, b, k) for p in TEXTS for b in (0, 1) for k in range(5)}
    assert {(window, row["origin"] == branch) for (_, window, branch, _), row in transitions.items()} == {(0, True)}
    for name in TEXTS:
        for branch in (0, 1):
            initial = drawn(position_seed("initial", SEEDS[name], branch))
            np.testing.assert_allclose(anchors[name, branch, 0]["latents"], initial, atol=1e-6)
            for step in range(1, 5):
                after = transitions[name, 0, branch, step - 1]["next_latents"]
                assert anchors[name, branch, step]["latents"] == after
    assert shard_evaluations(tmp_path / "transitions", 0) == 2 * 5


def test_branches_leave_a_shared_noise_together_and_are_on_their_own_from_then(tmp_path):
    shop = rolled_out(tmp_path, *DANCE)
    assert set(shop.rows("anchors")) == {
        (p, *place) for p in TEXTS for place in [(SHARED, 0), *((b, k) for b in (0, 1) for k in range(1, 5))]
    }
    steps = [key[1:] for key in shop.rows("transitions") if key[0] == "a"]
    assert steps == [(0, b, k) for k in range(5) for b in (0, 1)]  # a group's steps lie together
