"""The shards of an evaluation: which rows each has, and which of them keep pictures."""

from tiny import tiny_params

from stages.contract.job import Job
from stages.disk.tables import TEXTS, arrow, write_shard
from stages.engine.evaluation_shards import kept_rows, pending, shard_parts

PARAMS = tiny_params(
    *("evaluate.num_prompts=3", "evaluate.num_noises=2", "evaluate.num_pictures=2"),
    *("evaluate.num_steps=[2, 4]", "evaluate.micro_batch=4"),
)
"""Six rows; the first four are a shard; pictures of captions 0 and 1 (0 and 3 // 2) are kept."""


def test_each_number_of_steps_has_a_shard_for_each_micro_batch():
    assert shard_parts(PARAMS) == [(steps, slice(at, at + 4)) for steps in (2, 4) for at in (0, 4)]


def test_kept_are_the_first_noises_of_captions_spread_evenly():
    assert kept_rows(PARAMS, slice(0, 4)) == [0, 1]
    assert kept_rows(PARAMS, slice(1, 4)) == [1]
    assert kept_rows(PARAMS, slice(4, 8)) == []
    assert kept_rows(tiny_params("evaluate.num_prompts=3", "evaluate.num_pictures=9"), slice(0, 4)) == [0, 1, 2]


def test_pending_is_a_shard_whose_scores_or_whose_pictures_are_missing(tmp_path):
    outputs = {name: tmp_path / name for name in ("evaluations", "pictures")}
    job = Job(PARAMS, 0, {}, outputs, "made")
    assert pending(job) == [0, 1, 2, 3]
    columns = {"id": ["one"], "text": ["whatever"], "negative_text": [""], "metadata": ["{}"], "source_picture": [b""]}
    rows = arrow(TEXTS, columns)
    for name, shards in (("evaluations", (0, 1, 2)), ("pictures", (0,))):
        for shard in shards:
            write_shard(outputs[name], shard, TEXTS, rows, stamp="made")
    assert pending(job) == [2, 3]  # the pictures of 2 are missing; 1 and 3 keep none
