import pytest
from refusals import refusal, shipped

TWO = ("score.rewards=[judge_a, judge_b]", "complete.granularities=[1, 2]")


def test_weights_belong_to_rewards_and_granularities():
    weights = ("integrate.reward_weights={judge_b: 0.0, judge_a: 2.0}", "integrate.granularity_weights=[1.0, 0.0]")
    integrate = shipped(*TWO, *weights).integrate
    assert integrate.reward_weights == {"judge_a": 2.0, "judge_b": 0.0}
    assert integrate.granularity_weights == (1.0, 0.0)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (TWO, "one weight for each of score.rewards ['judge_a', 'judge_b'] is required, got ['judge_a']. Make them"),
        (["integrate.reward_weights={judge_b: 1.0}"], "score.rewards ['judge_a'] is required, got ['judge_b']"),
        (["integrate.reward_weights.judge_a=0"], "integrate.reward_weights: at least one must be above 0, got none"),
        (["integrate.reward_weights.judge_a=-1"], "integrate.reward_weights.judge_a: input should be greater than or"),
        (
            ["complete.granularities=[1, 2]", "integrate.granularity_weights=[1.0]"],
            "one weight for each of complete.granularities [1, 2] is required, got [1.0]. Name as many, or null",
        ),
        (
            ["complete.granularities=[1, 2]", "integrate.granularity_weights=[0.0, 0.0]"],
            "integrate.granularity_weights: at least one must be above 0, got none",
        ),
        (["integrate.fusion=max"], "integrate.fusion: input should be 'sum' or 'mean', got 'max'"),
        (["integrate.normalise=no"], "integrate.normalise: input should be 'each' or 'mixed'"),
        (["integrate.clamp=0"], "integrate.clamp: input should be greater than 0, got 0"),
        (["integrate.std_eps=.inf"], "integrate.std_eps: input should be a finite number, got inf"),
    ],
)
def test_bad_values_are_refused(overrides, message):
    assert message in refusal(*overrides)
