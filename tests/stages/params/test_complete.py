import pytest
from refusals import refusal, shipped


def test_granularities_are_strides_in_their_order():
    assert shipped("complete.granularities=[2, 1]").complete.granularities == (2, 1)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("complete.granularities=[]", "complete.granularities: "),
        ("complete.granularities=[0]", "complete.granularities.0: input should be greater than or equal to 1, got 0"),
        ("complete.granularities=[1, 1]", "complete.granularities: distinct values are required, got [1, 1]"),
        ("complete.granularities=1", "complete.granularities: input should be a valid list, got 1"),
        ("complete.stride_rule=coarse", "complete.stride_rule: input should be 'fine_first', 'even', 'published' or"),
        ("complete.micro_batch=0", "complete.micro_batch: input should be greater than or equal to 1, got 0"),
    ],
)
def test_bad_values_are_refused(override, message):
    assert message in refusal(override)
