import pytest
from refusals import refusal, shipped


def test_prompts_are_drawn_from_a_split_of_the_family_or_of_a_folder():
    prompts = shipped("prompts.split=all", "prompts.path=my-prompts", "prompts.num_prompts=3").prompts
    assert (prompts.split, prompts.path, prompts.num_prompts) == ("all", "my-prompts", 3)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("prompts.split=dev", "prompts.split: input should be 'train', 'tuning', 'test' or 'all', got 'dev'"),
        ("prompts.path=3", "prompts.path: input should be a valid string, got 3"),
        ("prompts.num_prompts=0", "prompts.num_prompts: input should be greater than or equal to 1, got 0"),
        ("prompts.shard_size=0", "prompts.shard_size: input should be greater than or equal to 1, got 0"),
    ],
)
def test_bad_values_are_refused(override, message):
    assert message in refusal(override)
