"""Which shard goes to whom, by the real stages on a tiny run, with actors in this process."""

from dataclasses import dataclass
from typing import Any

import pytest
from closeness import close_table
from rounds import first_round
from tiny import ROOT, tiny_params

from flows.runners.ray_executor import RayExecutor
from stages.contract.declared_stages import EVALUATE, STAGES
from stages.engine.execute import run_stage
from stages.params.file import load_params
from stages.store.run import Run, open_run

TWO = ("placement.runner=ray", "placement.num_runners=2", "placement.update_runners=1")
TABLES = ("anchors", "transitions", "completions", "rewards", "advantages", "updates")


@dataclass
class Here:
    """A run and the runners of it."""

    here: Any
    params: Any
    run: Run
    executor: RayExecutor

    def do(self, name, **how):
        return run_stage(self.run, STAGES[name], 0, self.params, self.executor, **how)

    def asked(self, name):
        """What runners were asked for: who, and the words."""
        return [(self.here.actors.index(actor), *words) for actor, call, words in self.here.calls if call == name]

    def shards(self, stage):
        return sorted(job.shards[0] for _, name, job in self.asked("do") if name == stage)


@pytest.fixture
def staff(here, own_store):
    """Makes runners of a tiny run."""

    def make(*overrides):
        params = tiny_params(*TWO, *overrides)
        return Here(here, params, open_run(params, device="cpu"), RayExecutor(params))

    return make


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The round of a tiny run by one process, and the base judged."""
    run, params, resources = first_round(tmp_path_factory.mktemp("local") / "store", tiny_params())
    run_stage(run, EVALUATE, 0, params, resources)
    return run


def test_two_runners_make_the_round_that_one_process_makes(staff, local):
    two = staff()
    assert two.executor.device.type == "cpu"
    assert two.here.actors == []
    for name in STAGES:
        two.do(name)
    for table in TABLES:
        close_table(two.run.round_folder(0) / table, local.round_folder(0) / table)
    judged = [run.evaluation_folder(0, "tuning") / "evaluations" for run in (two.run, local)]
    close_table(*judged)
    assert {stage: two.shards(stage) for stage in ("prompts", "rollout", "complete", "score", "integrate")} == {
        **{"prompts": [], "integrate": []},  # by the flow's own process
        **{"rollout": [0, 1], "complete": [0, 1]},
        "score": [],  # ahead, while others were completed
    }
    assert sorted(words[-1] for words in two.asked("score")) == [0, 1]
    assert {number for number, name, _ in two.asked("do") if name == "rollout"} == {0, 1}


def test_only_what_is_pending_is_handed_out(staff):
    two = staff()
    for name in ("prompts", "rollout"):
        two.do(name)
    (two.run.round_folder(0) / "transitions/part-00001.parquet").unlink()
    two.do("rollout")
    assert two.shards("rollout") == [0, 1, 1]


def test_rewards_of_completions_that_are_no_longer_those_are_scored_again(staff):
    two = staff()
    for name in ("prompts", "rollout", "complete"):
        two.do(name)
    digest, rows = (task := two.executor._ahead[0, 1]).result or next(
        two.executor._runners.scorers.finished([task])
    ).result
    task.result = ("another file's", rows)
    two.do("score")
    assert digest != "another file's"
    assert two.shards("score") == [1]


def test_scorers_of_their_own_judge_and_those_who_update_do_nothing_else(staff):
    scorers = "placement.scorers={num_runners: 1, gpus_per_runner: 0, resource: null}"
    three = staff(scorers, "placement.staleness=1")
    for name in ("prompts", "rollout", "complete", "score", "integrate", "update"):
        three.do(name)
    by = {name: {number for number, what, _ in three.asked("do") if what == name} for name in ("rollout", "update")}
    assert by == {"rollout": {0}, "update": {1}}
    assert {number for number, *_ in three.asked("score")} == {2}


def test_one_runner_encodes_for_all(staff):
    two = staff()
    assert two.executor.encode(["a red circle"]) == 0  # what the shapes world reads is not worth keeping
    assert [words for _, *words in two.asked("encode")] == [[["a red circle"]]]


def test_closing_ends_the_runners_and_their_own_cluster_and_others_come_to_later_work(staff):
    two = staff()
    two.executor.close()
    two.executor.encode([])
    assert two.here.is_initialized()
    two.executor.close()
    assert not two.here.is_initialized()
    assert [actor.killed for actor in two.here.actors] == [True, True]
    two.executor.encode([])
    assert len(two.here.actors) == 4


def test_a_base_that_is_not_there_is_refused_before_a_cluster_is_joined(here):
    params = load_params(ROOT / "presets/tiny-flux.yaml", [*TWO, "policy.path=/nowhere"])
    with pytest.raises(ValueError, match=r"policy.path: a folder, or a hub id as owner/name, is required"):
        RayExecutor(params)
    assert here.joined == []
