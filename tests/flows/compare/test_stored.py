"""What of a plan lies in the store: where a run lies, when it is whole, and what is told of it then."""

from dataclasses import replace

import pytest
from damage import flip, lose
from tiny import tiny_params
from whole_runs import ROUND, cells_in, make_whole, train

from flows.compare.cells import Cell
from flows.compare.stored import Placed, base_folder, is_evaluated, measured, trained_on
from stages.disk.files import write_json
from stages.disk.policy_state import state_digest
from stages.store.fingerprint import Fingerprint


@pytest.fixture
def placed(tmp_path):
    """The coarse method's run with seed 7, of two rounds, which is not there yet."""
    _, cells = cells_in(tmp_path)
    return Placed.of(cells[1], "test", device="cpu")


@pytest.fixture
def whole(placed):
    make_whole(placed)
    return placed


def test_a_run_is_placed_by_its_fingerprint(placed, store):
    key = Fingerprint.of(placed.cell.params, "cpu").key
    assert (placed.key, placed.run.path) == (key, store / "runs" / key)
    assert Placed.of(placed.cell, "test", device="cuda").key != key


def test_a_placed_run_knows_where_its_figures_and_the_bases_lie(placed, store):
    assert placed.by.evaluate.split == "test"
    assert placed.judged == placed.run.path / "evaluations/0002-test"
    assert placed.base == base_folder(placed.by)
    assert placed.base.parent == store / "bases"
    assert placed.log("my plan") == store / f"compare/my-plan/coarse-s7-{placed.key}.log"


def test_the_bases_evaluation_is_named_by_all_that_it_comes_from():
    """The learning rate and the rewards trained on are none of it; the captions, the rewards that judge are."""
    name = base_folder(tiny_params()).name
    assert len(name) == 16
    assert base_folder(tiny_params("update.learning_rate=1e-3", "run.seed=9")).name == name
    others = [("evaluate.num_prompts=5",), ("evaluate.num_steps=[2]",), ("evaluate.split=train",)]
    assert len({base_folder(tiny_params(*other)).name for other in others} | {name}) == 4


def test_a_whole_run_is_told_with_its_rounds_and_scores(whole):
    """The coarse method gains .3 with seed 7, of each reward; a row is the mean over two captions."""
    found = measured(whole)
    assert found.placed is whole
    assert found.rounds == [ROUND, ROUND]
    soft = [row for row in found.scores if row["reward"] == "rule_soft"]
    assert soft == [
        {"num_steps": 4, "reward": "rule_soft", "prompts": 2} | about
        for about in (
            {"policy_round": 0, "split": "tuning", "value": 0.25},
            {"policy_round": 2, "split": "tuning", "value": pytest.approx(0.55)},
            {"policy_round": 2, "split": "test", "value": pytest.approx(0.55)},
        )
    ]
    assert {row["reward"]: row["value"] for row in found.base} == {
        **{"judge_a": 0.5, "judge_b": 0.75, "rule_soft": 0.25, "rule_strict": 0.125}
    }
    assert {row["split"] for row in found.base} == {"test"}
    assert found.links == {"git_commit": "fae7c60", "machine": "a processor"}


def test_of_a_run_with_more_rounds_than_the_budget_pays_for_only_those_are_told(whole):
    whole.run.write_metrics(2, {"evaluations": 92.0, "cpu_seconds": 9.0})
    whole.run.finish_round(2)
    assert measured(whole).rounds == [ROUND, ROUND]


def test_final_figures_on_the_captions_of_the_curves_are_told_once(tmp_path):
    _, cells = cells_in(tmp_path, split="tuning")
    placed = Placed.of(cells[0], "tuning", device="cpu")
    make_whole(placed)
    assert [(row["policy_round"], row["split"]) for row in measured(placed).scores[::4]] == [
        (0, "tuning"),
        (2, "tuning"),
    ]


def test_a_run_is_not_whole_before_its_last_round_and_its_judgements(placed):
    assert measured(placed) is None
    train(placed)
    assert measured(placed) is None
    make_whole(placed)
    assert measured(placed) is not None
    more = placed.cell.params.model_copy(update={"run": placed.cell.params.run.model_copy(update={"rounds": 3})})
    assert measured(replace(placed, cell=replace(placed.cell, params=more))) is None


@pytest.mark.parametrize(
    ("spoil", "place"),
    [
        (lose, lambda placed: placed.base / "evaluate.json"),
        (flip, lambda placed: placed.base / "evaluations/part-00000.parquet"),
        (lose, lambda placed: placed.judged / "pictures/part-00000.parquet"),
        (flip, lambda placed: placed.judged / "evaluations/part-00000.parquet"),
        (flip, lambda placed: placed.run.path / "evaluations/0002-tuning/evaluations/part-00000.parquet"),
        (lose, lambda placed: placed.run.path / "evaluations/0000-tuning/evaluate.json"),
        (flip, lambda placed: placed.run.metrics_path(1)),
        (flip, lambda placed: placed.run.path / "run.json"),
    ],
)
def test_what_is_damaged_lacks(whole, spoil, place):
    spoil(place(whole))
    assert measured(whole) is None


def test_a_judgement_whose_policy_was_let_go_is_not_asked_for(placed):
    """The plan judges each round now: the first round's policy was let go, and nothing can judge it any more."""
    make_whole(placed)
    every = placed.cell.params.evaluate.model_copy(update={"every": 1})
    asking = replace(
        placed, cell=replace(placed.cell, params=placed.cell.params.model_copy(update={"evaluate": every}))
    )
    assert measured(asking) is None
    files = {"weights.safetensors": "9b" * 32}
    state = {"digest": state_digest(1, files), "num_steps": 1, "files": files}
    write_json(placed.run.policy_folder(1) / "state.json", state)
    assert {row["policy_round"] for row in measured(asking).scores} == {0, 2}


def test_an_evaluation_is_whole_when_every_file_is_as_it_was_written(whole):
    assert is_evaluated(whole.base)
    assert not is_evaluated(whole.base / "evaluations")
    flip(whole.base / "pictures/part-00000.parquet")
    assert not is_evaluated(whole.base)


def test_rewards_of_no_weight_are_not_trained_on(placed):
    params = tiny_params("score.rewards=[judge_a, judge_b]", "integrate.reward_weights={judge_a: 0.0, judge_b: 2.0}")
    weighted = replace(placed, cell=Cell("fine", "", {}, 7, params))
    assert list(trained_on(weighted)) == ["judge_b"]
    assert list(trained_on(placed)) == ["judge_a"]
