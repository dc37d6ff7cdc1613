from refusals import refusal, shipped


def test_all_rounds_stay_or_the_last_ones():
    assert shipped("retention.rounds=null").retention.rounds is None
    assert shipped("retention.rounds=2").retention.rounds == 2
    assert "retention.rounds: input should be greater than or equal to 1, got 0" in refusal("retention.rounds=0")
