import os

import pytest
from damage import flip, go_on, lose, numbers, replace
from resuming import MORE, SELDOM, damaged, resumed, same
from stages_by_hand import StagesByHand
from tiny import tables, tiny_params

from stages.contract.declared_stages import STAGES
from stages.disk.tables import read_shard, shard_path
from stages.engine.execute import run_stage
from stages.integrity.damage import num_marked
from stages.integrity.repair import repair
from stages.integrity.resume import resume
from stages.integrity.verify import verify
from stages.readings.best_round import best_round, evaluated_rounds
from stages.store.retention import prune
from stages.store.run import Run

pytestmark = pytest.mark.long


def test_a_whole_run_is_left_alone(linked, whole):
    run, params, executor = linked
    assert resumed(run, params, executor) == []
    assert executor.done == []
    assert same(run, whole)


def test_a_damaged_table_of_a_finished_round_is_named_marked_and_left_until_repair(linked, whole):
    run, params, executor = linked
    shard = shard_path(run.round_folder(0) / "rewards", 1)
    flip(shard)
    first, last = resumed(run, params, executor)
    assert first.startswith(f"damaged: {shard}: the file with digest ")
    assert last.startswith("1 damaged file of earlier rounds or evaluations stay as they are")
    assert f"`g2rpo repair --run {run.key[:8]}` makes them again" in last
    assert (executor.done, num_marked(run), run.num_finished) == ([], 1, 3)
    assert go_on(run, params, executor) == [first, last]
    assert executor.done == []
    with pytest.raises(ValueError, match="Run `g2rpo repair"):
        read_shard(shard.parent, 1)
    repair(run, verify(run), params, executor)
    assert executor.done == [("score", 0)]
    assert same(run, whole)
    assert num_marked(run) == 0


def test_a_clean_start_takes_the_mark_away(linked):
    run, params, executor = linked
    shard = shard_path(run.round_folder(0) / "rewards", 1)
    content = shard.read_bytes()
    flip(shard)
    resumed(run, params, executor)
    replace(shard, content)
    assert resumed(run, params, executor) == []
    assert num_marked(run) == 0


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "state.json"])
def test_the_policy_of_the_next_round_is_made_again_by_its_update_alone(linked, whole, name):
    run, params, executor = linked
    flip(run.policy_folder(3) / name)
    told, done = resumed(run, params, executor)
    assert told.startswith(f"damaged: {run.policy_folder(3) / name}: ")
    assert done == "the policy after 3 rounds is made again by the update of its round"
    assert (executor.done, num_marked(run)) == ([("update", 2)], 0)
    assert same(run, whole)


def test_another_name_of_that_policy_keeps_its_bytes(linked, whole, tmp_path):
    run, params, executor = linked
    weights, cached = run.policy_folder(3) / "weights.safetensors", tmp_path / "cached"
    flip(weights)  # another file than that of the run it was linked from
    os.link(weights, cached)
    before = cached.read_bytes()
    resumed(run, params, executor)
    assert cached.read_bytes() == before
    assert same(run, whole)


def test_a_kill_while_that_policy_is_made_again_leaves_the_next_start_the_same_damage(linked, whole):
    run, params, executor = linked
    flip(run.policy_folder(3) / "weights.safetensors")
    with pytest.raises(KeyboardInterrupt):
        resumed(run, params, StagesByHand(killed_in=("update", 2)))
    assert not (run.round_folder(2) / "update.json").exists()
    told, done = resumed(run, params, executor)
    assert told.startswith(f"damaged: {run.policy_folder(3) / 'weights.safetensors'}: ")
    assert done == "the policy after 3 rounds is made again by the update of its round"
    assert same(run, whole)
    assert not (run.path / ".former").exists()


@pytest.mark.parametrize(
    ("files", "made"),
    [
        (["update.json"], [("update", 2)]),
        (["policy/weights.safetensors", "advantages/part-00000.parquet"], [("integrate", 2), ("update", 2)]),
        (["policy/state.json", "transitions/part-00001.parquet"], [("rollout", 2), ("update", 2)]),
    ],
)
def test_else_the_run_goes_back_a_round_and_does_again_what_is_not_whole(linked, made_once, files, made):
    run, _, executor = linked
    for file in files:
        flip(run.round_folder(2) / file)
    said = resumed(run, MORE, executor)
    assert said[len(files) :] == [
        "the run goes back from round 3 to round 2, the last whose policy is whole; round 3 and its evaluations are "
        "done again (whole stages are skipped)"
    ]
    assert (run.num_finished, run.evaluations()[-1][0], executor.done) == (2, 2, [])
    assert verify(run) == []
    go_on(run, MORE, executor)
    assert executor.done[: len(made) + 1] == [*made, ("evaluate", 3)]
    assert is_as_of_four_rounds(run, made_once)


def is_as_of_four_rounds(run, made_once):
    longer = made_once("run.rounds=4")[0]
    return verify(run) == [] and tables(longer.path) == tables(run.path) and numbers(run) == numbers(longer)


STALE = ("placement.runner=ray", "placement.num_runners=2", "placement.update_runners=1", "placement.staleness=1")


@pytest.mark.parametrize(
    ("files", "back_to", "made"),
    [
        (["0001/policy/weights.safetensors"], 3, [1, 3]),
        (["0001/policy/weights.safetensors", "0002/policy/weights.safetensors"], 3, [1, 2, 3]),
        (["0000/policy/weights.safetensors"], 3, [3]),
        (["0002/update.json"], 2, [2, 3]),
        (["0001/update.json"], None, []),
    ],
)
def test_with_staleness_the_policy_before_the_last_is_needed_too(made_once, copy_of, files, back_to, made):
    run, _, executor = copy_of(*STALE)
    more = tiny_params(*STALE, "run.rounds=4", "retention.rounds=null")
    for file in files:
        flip(run.path / "rounds" / file)
    if back_to is None:
        with pytest.raises(ValueError, match="A whole policy after 2 rounds is required"):
            resumed(run, more, executor)
        return
    resumed(run, more, executor)
    assert run.num_finished == back_to
    go_on(run, more, executor)
    assert [number for name, number in executor.done if name == "update"] == made
    assert numbers(run) == numbers(made_once(*STALE, "run.rounds=4")[0])
    assert [file.split("/")[0] for file in files if "0000" in file] == [name.split("/")[1] for name in damaged(run)]


def test_a_policy_of_an_earlier_round_is_set_aside_and_passed_over_until_repair(linked):
    run, params, executor = linked
    weights = run.policy_folder(2) / "weights.safetensors"
    assert best_round(run, params) == 3
    flip(weights)
    replace(run.policy_folder(1) / "state.json", b"{")
    go_on(run, params, executor)
    assert executor.done == []
    assert not weights.is_file()
    assert damaged(run) == ["rounds/0000/policy/state.json", "rounds/0001/policy/weights.safetensors"]
    prune(run, tiny_params("run.rounds=3", "retention.rounds=1", "evaluate.every=2"))  # also over a state that is gone
    repair(run, verify(run), params, executor)
    assert verify(run) == []
    assert list(run.path.rglob("*.damaged")) == []


def test_an_evaluation_that_is_due_is_made_again_by_the_run_and_another_by_repair(linked, whole):
    run, params, executor = linked
    for split in ("tuning", "test"):
        flip(run.path / f"evaluations/0003-{split}/evaluations/part-00000.parquet")
    flip(run.path / "evaluations/0001-tuning/pictures/part-00000.parquet")
    seldom = tiny_params(*SELDOM)
    go_on(run, seldom, executor)
    assert executor.done == [("evaluate", 3), ("evaluate", 3)]
    assert damaged(run) == ["evaluations/0001-tuning/pictures/part-00000.parquet"]
    assert evaluated_rounds(run, seldom) == [0, 2, 3]
    repair(run, verify(run), params, executor)
    assert same(run, whole)


def test_metrics_are_counted_anew_from_tables_that_are_whole(linked, whole):
    run, params, executor = linked
    flip(run.metrics_path(1))
    flip(shard_path(run.round_folder(0) / "rewards", 0))
    resumed(run, params, executor)
    assert (executor.done, numbers(run), num_marked(run)) == ([], numbers(whole), 1)


def test_a_round_whose_metrics_cannot_be_counted_is_made_again_and_no_other(linked, whole):
    run, params, executor = linked
    for number in (0, 1):
        flip(shard_path(run.round_folder(number) / "rewards", 0))
    flip(run.path / "evaluations/0001-tuning/evaluate.json")
    lose(run.metrics_path(1))
    said = resumed(run, params, executor)
    assert "round 1, counted from 0, is made again where it is damaged, to compute its metrics anew" in said
    assert (executor.done, numbers(run), num_marked(run)) == ([("score", 1)], numbers(whole), 2)


def test_a_file_that_no_stage_wrote_is_removed(linked, whole):
    run, params, executor = linked
    stray = run.policy_folder(3) / "average.safetensors"
    stray.write_text("mine")
    (first,) = resumed(run, params, executor)
    assert first.startswith(f"damaged: {stray}: only files that the stage wrote may be here")
    assert executor.done == []
    assert same(run, whole)
    assert not stray.exists()


def test_a_file_that_cannot_be_a_stages_stays(linked, whole):
    run, params, executor = linked
    notes = run.policy_folder(3) / "notes.txt"
    notes.write_text("mine")
    assert resumed(run, params, executor) == []
    assert same(run, whole)
    assert notes.read_text() == "mine"


def test_of_many_damaged_files_ten_are_named(linked):
    run, params, executor = linked
    for path in [*run.path.glob("rounds/000[01]/*/part-*.parquet")][:13]:
        flip(path)
    said = resumed(run, params, executor)
    assert [line.startswith("damaged: ") for line in said] == [True] * 11 + [False]
    assert said[10] == "damaged: 3 more; `g2rpo verify` lists all"
    assert said[11].startswith("13 damaged files of earlier rounds")


def test_own_files_are_written_anew_and_then_the_rest_is_judged(linked, whole):
    run, params, executor = linked
    lose(run.path / "run.json")
    flip(run.path / "HEAD")
    lose(run.policy_folder(3) / "optimizer.safetensors")
    said = resumed(run, params, executor)
    assert said[1] == "the run's own files are written anew"
    assert said[-1] == "the policy after 3 rounds is made again by the update of its round"
    assert same(Run(run.path), whole)


def with_a_stray(run):
    (run.prompts / "train/extra.txt").write_text("a blue square\n")


def with_a_damaged_page(run):
    flip(run.prompts / "train/part-00000.parquet")  # the stamp is whole


HURT_LISTS = pytest.mark.parametrize("hurt", [with_a_stray, with_a_damaged_page])


@HURT_LISTS
def test_a_damaged_prompt_list_is_written_anew_from_its_source(linked, whole, hurt):
    run, params, executor = linked
    hurt(run)
    assert resumed(run, params, executor)[1:] == ["the run's own files are written anew"]
    assert same(run, whole)
    assert [path.name for path in (run.prompts / "train").iterdir()] == ["part-00000.parquet"]


@HURT_LISTS
def test_a_damaged_prompt_list_without_another_source_is_refused_and_left(linked, whole, hurt):
    run, _, executor = linked
    by_itself = run.params()
    hurt(run)
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"list of prompts is required.*Run `g2rpo train --params FILE`.*from a copy"):
        resumed(run, by_itself, executor)
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_the_parameters_with_the_own_lists_are_returned_and_stored(linked):
    run, params, executor = linked
    more = params.with_values({"run.rounds": 7})
    assert resume(run, more, executor, print) == run.params()
    assert (run.params().run.rounds, run.params().prompts.path) == (7, str(run.prompts))


def test_damage_of_the_unfinished_round_is_removed(linked):
    run, params, executor = linked
    run_stage(run, STAGES["prompts"], 3, params, executor)
    flip(shard_path(run.round_folder(3) / "prompts", 0))
    executor.done.clear()
    assert len(resumed(run, params, executor)) == 1
    assert (executor.done, verify(run), num_marked(run)) == ([], [], 0)
