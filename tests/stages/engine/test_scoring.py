"""The rewards of one shard, on pictures that are three numbers each."""

import numpy as np
import pytest
import torch
from linear_resources import TEXTS, Channel, Workshop

from stages.engine.scoring import scored

PICTURES = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]], np.float32)


class Words(Channel):
    """A reward that reads: the words of the text; notes the size of each batch."""

    batches = ()

    def score(self, images, texts):
        self.batches += (len(images),)
        return torch.tensor([float(len(text.split())) for text in texts])


@pytest.fixture
def shop(tmp_path):
    """Two branches of the prompt of two words, one of the other."""
    rewards = ("score.rewards=[red, words]", "integrate.reward_weights={red: 1.0, words: 1.0}", "score.micro_batch=2")
    shop = Workshop(tmp_path, *rewards, rewards=(Channel(), Words("words")))
    keys = {"split": ["train"] * 2, "metadata": ["{}"] * 2, "noise_seed": [0, 1]}
    shop.give("prompts", prompt_id=[*TEXTS], text=[*TEXTS.values()], **keys)
    places = {"window": [0, 0, 1], "branch": [0, 1, 0], "granularity": [1, 1, 2], "evaluations": [1] * 3}
    shop.give("completions", prompt_id=["a", "a", "b"], **places, latents=PICTURES)
    return shop


def table(shop):
    return scored(shop.job(["prompts", "completions"], []), shop.resources, 0)


def test_every_picture_has_a_row_from_each_reward_with_its_own_text(shop):
    rows = [tuple(row.values()) for row in table(shop).to_pylist()]
    assert rows == [
        ("a", 0, 0, 1, "red", pytest.approx(0.1)),
        ("a", 0, 0, 1, "words", 2.0),
        ("a", 0, 1, 1, "red", pytest.approx(0.4)),
        ("a", 0, 1, 1, "words", 2.0),
        ("b", 1, 0, 2, "red", pytest.approx(0.7)),
        ("b", 1, 0, 2, "words", 3.0),
    ]


def test_pictures_come_before_a_reward_in_micro_batches(shop):
    table(shop)
    assert shop.resources.reward("words").batches == (2, 1)


def test_a_picture_without_a_number_is_reported_by_prompt_window_branch_and_granularity(shop):
    shop.resources.rewards["red"].score = lambda images, texts: torch.full((len(images),), torch.nan)
    with pytest.raises(FloatingPointError, match=r"for prompt a, window 0, branch 0, granularity 1 \(2 of 2 pictures"):
        table(shop)
    shop.resources.rewards["red"].score = lambda images, texts: images[:, 0, 0, 0].where(
        images[:, 0, 0, 0] < 0.6, -torch.inf
    )
    with pytest.raises(FloatingPointError, match=r"got -inf for prompt b, window 1, branch 0, granularity 2 \(1 of 1"):
        table(shop)
