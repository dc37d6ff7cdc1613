"""What MLflow shows of an evaluation beside its means."""

import numpy as np
import pytest
from handmade import TEXTS, begun, judge

from flows.tracking.tables import evaluation_table

pytestmark = pytest.mark.usefixtures("own_store")


def test_an_evaluation_has_a_row_a_prompt_and_a_column_a_reward():
    run, params = begun("evaluate.rewards=[judge_a, rule_soft]")
    found = evaluation_table(judge(run, params, 1, judge_a=[1 / 3, 0.5], rule_soft=[0.75, 1.0]))
    assert list(found.columns) == ["text", "judge_a", "rule_soft", "prompt_id", "num_steps"]
    assert found.to_dict("list") == {
        "text": [TEXTS[1], TEXTS[0]],  # by their letters
        "judge_a": [0.5, 0.33333],
        "rule_soft": [1.0, 0.75],
        "prompt_id": ["tuning-1", "tuning-0"],
        "num_steps": [4, 4],
    }
    assert found["text"].dtype == found["prompt_id"].dtype == np.dtype(object)  # of others MLflow warns


def test_several_numbers_of_steps_have_a_row_each():
    run, params = begun("evaluate.rewards=[rule_soft]")
    found = evaluation_table(judge(run, params, 0, num_steps=(4, 8), rule_soft=[0.75]))
    assert list(zip(found["prompt_id"], found["num_steps"], found["rule_soft"], strict=True)) == [
        ("tuning-0", 4, 0.75),
        ("tuning-0", 8, 0.75),
    ]
