import pytest
from handmade import begun, finish, forge, judge, without
from tiny import tiny_params

from stages.disk.files import write_json
from stages.disk.policy_state import state_digest
from stages.readings.best_round import best_round, best_trained_round, evaluated_rounds, held_out_history


@pytest.fixture
def evaluated():
    """Four rounds; `rule_soft`, which chooses, was 0.5, 0.25, 0.75, 0.75 and 0.5 after 0 to 4 of them."""
    run, params = begun("run.rounds=4")
    for _ in range(4):
        finish(run)
    for policy_round, value in enumerate((0.5, 0.25, 0.75, 0.75, 0.5)):
        judge(run, params, policy_round, rule_soft=[value] * 4, judge_a=[policy_round / 10] * 4)
    return run, params


def remove_weights(run, policy_round):
    """Remove the weights of a policy."""
    files = {"weights.safetensors": "1" * 64}
    state = {"digest": state_digest(policy_round, files), "num_steps": policy_round, "files": files}
    write_json(run.policy_folder(policy_round) / "state.json", state)


def test_the_best_round_is_the_earliest_of_the_highest_mean(evaluated):
    assert best_round(*evaluated) == best_trained_round(*evaluated) == 2


def test_only_rounds_below_one_count_if_that_is_set(evaluated):
    assert [best_round(*evaluated, below=below) for below in (1, 2, 3, 5)] == [0, 0, 2, 2]


def test_a_policy_that_was_pruned_is_skipped(evaluated):
    remove_weights(evaluated[0], 2)
    assert best_round(*evaluated) == 3
    remove_weights(evaluated[0], 3)
    assert (best_round(*evaluated), best_trained_round(*evaluated)) == (0, 4)


def test_another_reward_may_choose(evaluated):
    run, params = evaluated
    by = params.with_values({"evaluate.choose_by": "judge_a"})
    assert best_round(run, by) == 4


def test_without_an_evaluation_the_base_is_the_best_and_the_last_round_the_best_trained():
    run, params = begun("run.rounds=4")
    finish(run)
    finish(run)
    assert (best_round(run, params), best_trained_round(run, params)) == (0, 2)
    fewer = tiny_params("run.rounds=1")
    assert best_trained_round(run, fewer) == 1


def test_evaluations_count_that_were_made_as_they_would_be_now_on_rounds_that_are_reached(evaluated):
    run, params = evaluated
    assert evaluated_rounds(run, params) == [0, 1, 2, 3, 4]
    assert evaluated_rounds(run, tiny_params("run.rounds=3")) == [0, 1, 2, 3]
    assert evaluated_rounds(run, tiny_params("run.rounds=4", "evaluate.num_noises=2")) == []
    judge(run, tiny_params("evaluate.num_noises=2"), 3, rule_soft=[0.0] * 4)
    judge(run, params, 5, rule_soft=[1.0] * 4)  # of a round that is not finished
    judge(run, params, 4, split="test", rule_soft=[1.0] * 4)
    (run.evaluation_folder(1, "tuning") / "evaluate.json").write_text("{")
    assert evaluated_rounds(run, params) == [0, 2, 4]


def test_the_history_has_the_mean_of_each_reward_by_policy_round(evaluated):
    history = held_out_history(*evaluated)
    assert list(history) == [0, 1, 2, 3, 4]
    assert history[2] == {"judge_a": 0.2, "judge_b": 0.0, "rule_soft": 0.75, "rule_strict": 0.0}


def test_an_evaluation_without_the_reward_that_chooses_is_refused(evaluated):
    run, params = evaluated
    forge(run.evaluation_folder(3, "tuning"), "evaluations", without("rule_soft"))
    for read in (best_round, best_trained_round, held_out_history):
        with pytest.raises(ValueError, match="0003-tuning must be an evaluation .*, got no rule_soft"):
            read(run, params)
