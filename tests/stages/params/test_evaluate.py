import pytest
from refusals import refusal, shipped


def test_the_reward_that_chooses_is_one_of_those_evaluated():
    evaluate = shipped("evaluate.rewards=[strict, judge_a]", "evaluate.choose_by=judge_a").evaluate
    assert (evaluate.rewards, evaluate.choose_by) == (("strict", "judge_a"), "judge_a")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["evaluate.rewards=[judge_a]", "evaluate.choose_by=strict"],
            "evaluate.choose_by: one of evaluate.rewards is required, judge_a, got strict. Choose the most reliable",
        ),
        (
            ["evaluate.rewards=[strict, strict]", "evaluate.choose_by=strict"],
            "evaluate.rewards: distinct values are required, got ['strict', 'strict']",
        ),
        (["evaluate.num_steps=[4, 4]"], "evaluate.num_steps: distinct values are required, got [4, 4]"),
        (["evaluate.num_steps=[0]"], "evaluate.num_steps.0: input should be greater than or equal to 1, got 0"),
        (["evaluate.every=0"], "evaluate.every: input should be greater than or equal to 1, got 0"),
        (["evaluate.split=dev"], "evaluate.split: input should be 'train', 'tuning', 'test' or 'all', got 'dev'"),
        (["evaluate.num_prompts=0"], "evaluate.num_prompts: input should be greater than or equal to 1, got 0"),
        (["evaluate.num_noises=0"], "evaluate.num_noises: input should be greater than or equal to 1, got 0"),
        (["evaluate.num_pictures=0"], "evaluate.num_pictures: input should be greater than or equal to 1, got 0"),
        (["evaluate.micro_batch=0"], "evaluate.micro_batch: input should be greater than or equal to 1, got 0"),
    ],
)
def test_bad_values_are_refused(overrides, message):
    assert message in refusal(*overrides)
