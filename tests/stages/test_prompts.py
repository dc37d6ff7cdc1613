"""The stage `prompts`: which captions a round has, and the noise that each starts from."""

from tiny import tiny_params

from g2rpo.positions import position_seed
from g2rpo.shapes.captions import captions
from stages.contract.job import Job
from stages.disk.tables import read_shard, read_table, shard_numbers, shard_path, shard_stamp
from stages.prompts import run


def drawn(folder, *overrides, number=0, **how):
    """The prompts of a round, as the stage writes them."""
    run(Job(tiny_params(*overrides), number, {}, {"prompts": folder}, "made", **how), None)
    return read_table(folder)


def test_a_round_has_its_prompts_in_shards_each_with_text_split_and_the_seed_of_its_noise(tmp_path):
    rows = drawn(tmp_path, number=1).to_pylist()
    assert [read_shard(tmp_path, shard).num_rows for shard in shard_numbers(tmp_path)] == [2, 2]
    assert len({row["prompt_id"] for row in rows}) == 4
    for row in rows:
        split, caption, noise = row["prompt_id"].split("-")
        assert (split, noise, row["split"], row["metadata"]) == ("train", "000", "train", "{}")
        assert row["text"] == captions("train")[int(caption)]
        assert row["noise_seed"] == position_seed("noise", 0, 1, row["prompt_id"])
    assert {shard_stamp(tmp_path, shard) for shard in (0, 1)} == {"made"}


def test_the_last_shard_holds_what_is_left(tmp_path):
    drawn(tmp_path, "prompts.num_prompts=5")
    assert [read_shard(tmp_path, shard).num_rows for shard in shard_numbers(tmp_path)] == [2, 2, 1]


def test_each_epoch_asks_for_every_text_once_and_its_noise_is_the_epoch(tmp_path):
    """Three texts, two a round: rounds 0 to 2 are two epochs, and round 1 ends the first and begins the second."""
    texts = ["a red circle", "a blue square", "a green triangle"]
    (tmp_path / "lists").mkdir()
    for split, held in (("train", texts), ("tuning", ["a red square"]), ("test", ["a blue circle"])):
        (tmp_path / "lists" / f"{split}.txt").write_text("\n".join(held))
    small = (f"prompts.path={tmp_path / 'lists'}", "prompts.num_prompts=2")
    rows = [row for n in range(3) for row in drawn(tmp_path / f"{n}", *small, number=n).to_pylist()]
    assert [row["prompt_id"].split("-")[2] for row in rows] == ["000"] * 3 + ["001"] * 3
    assert {row["text"] for row in rows[:3]} == {row["text"] for row in rows[3:]} == set(texts)
    assert len({row["noise_seed"] for row in rows}) == 6


def test_another_seed_asks_in_another_order(tmp_path):
    orders = [drawn(tmp_path / f"{seed}", f"run.seed={seed}")["text"].to_pylist() for seed in (0, 1)]
    assert orders[0] != orders[1]


def test_only_what_is_requested_and_missing_is_written(tmp_path):
    drawn(tmp_path, shards=[1])
    assert shard_numbers(tmp_path) == [1]
    before = shard_path(tmp_path, 1).stat().st_mtime_ns
    assert drawn(tmp_path).num_rows == 4
    assert shard_path(tmp_path, 1).stat().st_mtime_ns == before
