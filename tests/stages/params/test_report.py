import pytest
from refusals import refusal, shipped


def test_steps_of_the_report_are_its_own_or_those_of_evaluate():
    assert shipped("report.num_steps=[4, 8]").report.num_steps == (4, 8)
    assert shipped("report.num_steps=null").report.num_steps is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("report.num_steps=[4, 4]", "report.num_steps: distinct values are required, got [4, 4]. Name each once."),
        ("report.num_steps=[]", "report.num_steps: "),
        ("report.split=dev", "report.split: input should be 'train', 'tuning', 'test' or 'all', got 'dev'"),
        ("report.num_prompts=0", "report.num_prompts: input should be greater than or equal to 1, got 0"),
        ("report.num_noises=0", "report.num_noises: input should be greater than or equal to 1, got 0"),
    ],
)
def test_bad_values_are_refused(override, message):
    assert message in refusal(override)
