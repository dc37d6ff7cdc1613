import pytest
from refusals import refusal, shipped


def test_several_rewards_may_be_trained_on():
    weights = "integrate.reward_weights={judge_a: 1.0, judge_b: 2.0}"
    assert shipped("score.rewards=[judge_a, judge_b]", weights).score.rewards == ("judge_a", "judge_b")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("score.rewards=[]", "score.rewards: "),
        ("score.rewards=[judge_a, judge_a]", "score.rewards: distinct values are required, got ['judge_a', 'judge_a']"),
        ("score.rewards=[1]", "score.rewards.0: input should be a valid string, got 1"),
        ("score.micro_batch=0", "score.micro_batch: input should be greater than or equal to 1, got 0"),
    ],
)
def test_bad_values_are_refused(override, message):
    assert message in refusal(override)
