"""The stage `complete` on a policy without weights, v = words sigma: each branch is finished as derived by hand."""

import numpy as np
import pytest
from linear_resources import TEXTS, Workshop

from stages.complete import run
from stages.disk.tables import shard_evaluations, shard_numbers, shard_path

AHEAD = {1: 76 / 225, 2: 4 / 9}
"""By granularity: how far below the latents at sigma = 2/3 a picture lies for each word.

The ODE goes 2/3 -> 2/5 -> 0, (4/15)(2/3) + (2/5)(2/5), or straight to 0, (2/3)(2/3).
"""


def completed(folder, *overrides, steps=(1,), window=1, **how):
    """Branches of both prompts whose last step led to sigma = 2/3; latents are counted up from 0."""
    shop = Workshop(folder, "complete.granularities=[1, 2]", "complete.stride_rule=even", *overrides)
    shop.give_prompts()
    for shard, name in enumerate(TEXTS):
        keys = [(branch, step) for step in steps for branch in (0, 1)]
        count = len(keys)
        shop.give(
            "transitions",
            shard,
            prompt_id=[name] * count,
            window=[window] * count,
            branch=[branch for branch, _ in keys],
            step=[step for _, step in keys],
            origin=[branch for branch, _ in keys],
            seed=[0] * count,
            sigma=[0.5] * count,
            sigma_next=[0.25] * count,
            log_prob=[0.0] * count,
            next_latents=np.arange(3 * count, dtype=np.float32).reshape(count, 3) * (shard + 1),
        )
    run(shop.job(["prompts", "transitions"], ["completions", "diversity"], **how), shop.resources)
    return shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return completed(tmp_path_factory.mktemp("complete"))


def test_each_branch_is_finished_once_for_each_granularity_by_the_ode(shop):
    rows = shop.rows("completions")
    assert list(rows) == [(p, 1, b, g) for p in TEXTS for b in (0, 1) for g in (1, 2)]
    for (name, _, branch, granularity), row in rows.items():
        scale, words = (1, 2) if name == "a" else (2, 3)
        start = scale * (3 * branch + np.arange(3))
        np.testing.assert_allclose(row["latents"], start - AHEAD[granularity] * words, atol=1e-5)
    assert shop.resources.encoded == [[*TEXTS.values()]]


def test_what_granularities_share_is_charged_to_the_first_and_the_shard_to_its_shard(shop):
    """Both begin at sigma = 2/3, where one evaluation serves both; only the first goes by 2/5."""
    spent = {key[3]: row["evaluations"] for key, row in shop.rows("completions").items()}
    assert spent == {1: 2, 2: 0}
    assert [shard_evaluations(shop.folder / "completions", shard) for shard in (0, 1)] == [2 * 2] * 2


def test_diversity_is_the_spread_of_the_pictures_of_each_group(shop):
    """Two branches 3 apart in every number: the sample variance is 9 / 2; those of the other prompt are 6 apart."""
    values = {key: row["value"] for key, row in shop.rows("diversity").items()}
    assert list(values) == [(p, 1, g) for p in TEXTS for g in (1, 2)]
    assert [values["a", 1, g] for g in (1, 2)] == pytest.approx([(9 / 2) ** 0.5] * 2, abs=1e-5)
    assert [values["b", 1, g] for g in (1, 2)] == pytest.approx([(36 / 2) ** 0.5] * 2, abs=1e-5)


def test_a_branch_of_several_steps_is_finished_from_its_last(tmp_path):
    """Of the steps 0 and 1 of branch 0, the second led to (6, 7, 8)."""
    shop = completed(tmp_path, "rollout.steps=[0, 1]", steps=(0, 1), window=0)
    rows = shop.rows("completions")
    assert list(rows) == [(p, 0, b, g) for p in TEXTS for b in (0, 1) for g in (1, 2)]
    np.testing.assert_allclose(rows["a", 0, 0, 2]["latents"], np.array([6, 7, 8]) - 8 / 9, atol=1e-5)


def test_only_the_requested_shards_are_made_and_existing_ones_stay(tmp_path):
    shop = completed(tmp_path, shards=[1])
    assert shard_numbers(tmp_path / "completions") == shard_numbers(tmp_path / "diversity") == [1]
    before = shard_path(tmp_path / "completions", 1).stat().st_mtime_ns
    run(shop.job(["prompts", "transitions"], ["completions", "diversity"]), shop.resources)
    assert shard_numbers(tmp_path / "completions") == [0, 1]
    assert shard_path(tmp_path / "completions", 1).stat().st_mtime_ns == before
