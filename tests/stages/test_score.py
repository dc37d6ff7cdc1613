"""The stage `score`: rewards of every shard of completions, stamped, and only the requested ones."""

import numpy as np
from linear_resources import TEXTS, Channel, Workshop

from stages.disk.tables import shard_numbers, shard_path, shard_stamp
from stages.score import run


def scored(folder, **how):
    """One picture a prompt: red 0.25 in shard 0 and 0.75 in shard 1."""
    rewards = ("score.rewards=[red]", "integrate.reward_weights={red: 1.0}")
    shop = Workshop(folder, *rewards, rewards=(Channel(),))
    shop.give_prompts()
    for shard, (name, red) in enumerate(zip(TEXTS, (0.25, 0.75), strict=True)):
        keys = {"prompt_id": [name], "window": [0], "branch": [0], "granularity": [1], "evaluations": [1]}
        shop.give("completions", shard, **keys, latents=np.array([[red, 0, 0]], np.float32))
    run(shop.job(["prompts", "completions"], ["rewards"], **how), shop.resources)
    return shop


def test_every_shard_of_completions_has_its_shard_of_rewards(tmp_path):
    rows = scored(tmp_path).rows("rewards")
    assert {key: row["value"] for key, row in rows.items()} == {
        ("a", 0, 0, 1, "red"): 0.25,
        ("b", 0, 0, 1, "red"): 0.75,
    }
    assert shard_numbers(tmp_path / "rewards") == [0, 1]
    assert {shard_stamp(tmp_path / "rewards", shard) for shard in (0, 1)} == {"made"}


def test_only_the_requested_shards_are_made_and_existing_ones_stay(tmp_path):
    shop = scored(tmp_path, shards=[1])
    assert shard_numbers(tmp_path / "rewards") == [1]
    before = shard_path(tmp_path / "rewards", 1).stat().st_mtime_ns
    run(shop.job(["prompts", "completions"], ["rewards"]), shop.resources)
    assert shard_numbers(tmp_path / "rewards") == [0, 1]
    assert shard_path(tmp_path / "rewards", 1).stat().st_mtime_ns == before
