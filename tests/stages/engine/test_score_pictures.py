"""One batch scored by one reward: numbers, or an error that names reward and picture."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from g2rpo.rewards.protocol import RewardError
from stages.engine.score_pictures import score_pictures

IMAGES = torch.zeros(3, 3, 1, 1)
TEXTS = ["x", "yy", "zzz"]
TOLD = ["prompt p, branch 0", "prompt p, branch 1", "prompt q, branch 0"]


def judged(score):
    return score_pictures(SimpleNamespace(name="red", score=score), IMAGES, TEXTS, TOLD)


def failing(error):
    def score(images, texts):
        raise error

    return score


def test_each_picture_gets_its_number_in_double_precision():
    values = judged(lambda images, texts: torch.tensor([float(len(text)) for text in texts]))
    assert values.tolist() == [1, 2, 3]
    assert values.dtype == np.float64


def test_a_reward_that_knows_the_picture_it_failed_at_has_it_named():
    with pytest.raises(ValueError, match=r"^Reward red failed at prompt p, branch 1: no server$"):
        judged(failing(RewardError("no server", row=1)))


@pytest.mark.parametrize("error", [RewardError("no server"), ZeroDivisionError("no server")])
def test_any_other_failure_is_reported_with_the_pictures_of_the_batch(error):
    with pytest.raises(ValueError, match=r"failed at prompt p, branch 0 to prompt q, branch 0: no server") as caught:
        judged(failing(error))
    assert caught.value.__cause__ is error


def test_a_failure_at_a_single_picture_names_it_alone():
    broken = SimpleNamespace(name="red", score=failing(KeyError("x")))
    with pytest.raises(ValueError, match=r"^Reward red failed at prompt p, branch 0: 'x'$"):
        score_pictures(broken, IMAGES[:1], TEXTS[:1], TOLD[:1])


def test_other_than_one_number_a_picture_is_refused():
    with pytest.raises(ValueError, match=r"one number for each of 3 pictures, got the shape \(2,\). Fix the reward"):
        judged(lambda images, texts: torch.zeros(2))


def test_what_is_no_finite_number_is_refused_with_the_first_picture_and_how_many():
    with pytest.raises(FloatingPointError, match=r"got inf for prompt p, branch 1 \(2 of 3 pictures\).*remove the"):
        judged(lambda images, texts: torch.tensor([0, torch.inf, torch.nan]))
