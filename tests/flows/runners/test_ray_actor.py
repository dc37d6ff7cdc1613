"""A runner in this process: the body of an actor, without the actor."""

import os
import re
import socket
from datetime import timedelta
from pathlib import Path

import pytest
from rounds import first_round
from tiny import tiny_params
from torch.distributed import DistNetworkError
from worlds import joined

from flows.runners.ray_actor import RayActor
from g2rpo.distributed.group import ALONE, ProcessGroup
from stages.contract.declared_stages import STAGES
from stages.contract.job import Job
from stages.disk.files import file_digest
from stages.disk.tables import read_shard, read_table, shard_path


@pytest.fixture
def runner(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "project").mkdir()
    return RayActor(tiny_params(), str(tmp_path / "project"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A tiny run whose first round is done."""
    run, _, _ = first_round(tmp_path_factory.mktemp("actor") / "store", tiny_params())
    return run


def job(run, stage, out, **chosen):
    outputs = {name: out / name for name in STAGES[stage].outputs}
    return Job(tiny_params(), 0, run.inputs(STAGES[stage], 0), outputs, stamp="1", **chosen)


def test_a_runner_works_in_the_folder_of_the_flow_and_says_where_it_is(runner, tmp_path):
    assert Path.cwd() == tmp_path / "project"
    assert runner.ready() == f"{socket.gethostname()}, process {os.getpid()}, cpu"


def test_a_runner_does_the_shards_that_it_is_given(runner, finished, tmp_path):
    spent = runner.do("rollout", job(finished, "rollout", tmp_path, shards=(1,)))
    assert spent.cpu_seconds > 0
    mine = read_table(tmp_path / "transitions")
    assert mine["seed"].equals(read_shard(finished.round_folder(0) / "transitions", 1)["seed"])


def test_a_runner_scores_a_shard_ahead_and_says_of_which_completions(runner, finished, tmp_path):
    digest, rows = runner.score(job(finished, "score", tmp_path), 1)
    completions, rewards = (finished.round_folder(0) / table for table in ("completions", "rewards"))
    assert digest == file_digest(shard_path(completions, 1))
    assert rows["value"].to_pylist() == pytest.approx(read_shard(rewards, 1)["value"].to_pylist(), rel=1e-5)
    assert not (tmp_path / "rewards").exists()


def test_texts_whose_embeddings_are_not_worth_keeping_are_none(runner):
    assert runner.encode(["a red circle"]) == 0


def test_a_world_meets_at_a_free_port_of_this_node(runner, here):
    found = re.fullmatch(r"tcp://127.0.0.1:(\d+)", runner.address())
    with socket.create_server(("127.0.0.1", int(found[1]))):
        pass


def test_a_world_of_one_learns_alone_from_then_on(runner):
    before = runner._resources.learning
    runner.join(ALONE, "tcp://nowhere:1")
    assert runner._resources.learning is not before


def test_two_runners_meet_and_each_learns_as_its_rank_of_two(tmp_path):
    """The ranks, added up between them, are 0 + 1."""
    assert joined(2, str(tmp_path)) == [(0, 2, 1), (1, 2, 1)]


def test_a_world_of_two_that_does_not_meet_ends_once_patience_is_over(runner, monkeypatch):
    monkeypatch.setattr("flows.runners.ray_actor._PATIENCE", timedelta(seconds=0.2))
    with pytest.raises(DistNetworkError, match="127.0.0.1"):
        runner.join(ProcessGroup(1, 2), "tcp://127.0.0.1:1")
