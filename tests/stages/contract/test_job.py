from dataclasses import replace

import pytest
from tiny import tiny_params

from stages.contract.job import Job
from stages.disk.tables import DIVERSITY, EMBEDDINGS, PROMPTS, arrow, write_shard


def write(folder, shard, *texts, stamp="before"):
    """A shard of a table."""
    columns = dict.fromkeys(("name", "text", "dtype"), texts) | {
        "shape": [[1]] * len(texts),
        "values": [b""] * len(texts),
    }
    write_shard(folder, shard, EMBEDDINGS, arrow(EMBEDDINGS, columns), stamp=stamp)


def write_prompts(folder, shard, *texts):
    columns = dict.fromkeys(("prompt_id", "text", "split", "metadata"), texts) | {"noise_seed": range(len(texts))}
    write_shard(folder, shard, PROMPTS, arrow(PROMPTS, columns), stamp="before")


@pytest.fixture
def job(tmp_path):
    """A job that writes two tables; of three shards of the first, one is of these inputs and one of others."""
    inputs, outputs = {"prompts": tmp_path / "prompts"}, {"one": tmp_path / "one", "other": tmp_path / "other"}
    write(outputs["one"], 0, "a", stamp="now")
    write(outputs["one"], 1, "a", stamp="before")
    write(outputs["other"], 0, "a", stamp="before")
    return Job(tiny_params(), 7, inputs, outputs, stamp="now")


def test_a_shard_is_pending_unless_every_table_has_it_from_these_inputs(job):
    assert job.pending(range(3), "one") == [1, 2]
    assert job.pending(range(3), "one", "other") == [0, 1, 2]


def test_only_requested_shards_are_pending(job):
    assert replace(job, shards=(0, 2)).pending(range(3), "one") == [2]
    assert replace(job, shards=()).pending(range(3), "one") == []


def test_by_force_shards_are_made_again_that_exist(job):
    assert replace(job, force=True).pending(range(3), "one") == [0, 1, 2]
    assert replace(job, force=True, shards=(0,)).pending(range(3), "one") == [0]


def test_a_stage_makes_a_shard_from_each_of_its_parents(job):
    for shard in (0, 2, 5):
        write_prompts(job.inputs["prompts"], shard, "a red circle")
    assert job.pending_like("prompts", "one") == [2, 5]


def test_the_texts_of_a_round_are_those_of_all_its_shards_in_order(job):
    write_prompts(job.inputs["prompts"], 1, "a blue square")
    write_prompts(job.inputs["prompts"], 0, "a red circle", "a green star")
    assert job.texts() == ["a red circle", "a green star", "a blue square"]


def test_one_shard_of_an_input_is_read_by_its_number(job, tmp_path):
    columns = {"prompt_id": ["p"], "window": [0], "granularity": [1]}
    for shard, value in enumerate((0.25, 0.5)):
        rows = arrow(DIVERSITY, columns | {"value": [value]})
        write_shard(tmp_path / "diversity", shard, DIVERSITY, rows, stamp="1")
    given = replace(job, inputs={"diversity": tmp_path / "diversity"})
    assert given.read("diversity", 1)["value"].to_pylist() == [0.5]
    with pytest.raises(ValueError, match="Shard 2 of diversity is required, got no file"):
        given.read("diversity", 2)
