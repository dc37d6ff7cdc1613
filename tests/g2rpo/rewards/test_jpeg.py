"""Minus the size of the JPEG: Pillow's own numbers, and that noise does not compress."""

import numpy as np
import pytest
import torch
from PIL import Image

from g2rpo.rewards.jpeg import load_jpeg
from g2rpo.rewards.protocol import Reward

FLAT = torch.full((1, 3, 64, 64), 0.5)
NOISE = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
PICTURES = torch.cat([FLAT, NOISE])
TEXTS = ["flat", "noise"]


def test_it_is_minus_the_kilobytes_of_the_file_that_pillow_writes(tmp_path):
    scores = load_jpeg("jpeg", quality=95).score(PICTURES, TEXTS)
    for number, picture in enumerate(PICTURES):
        array = np.rint(picture.numpy() * 255).astype(np.uint8).transpose(1, 2, 0)
        Image.fromarray(array).save(tmp_path / f"{number}.jpg", quality=95)
        size = (tmp_path / f"{number}.jpg").stat().st_size
        assert scores[number].item() == pytest.approx(-size / 1000, abs=1e-6)


def test_a_flat_picture_is_better_than_noise():
    flat, noise = load_jpeg("jpeg", quality=95).score(PICTURES, TEXTS).tolist()
    assert noise < 3 * flat < 0


def test_a_lower_quality_makes_smaller_files():
    high, low = (load_jpeg("jpeg", quality=quality).score(NOISE, ["noise"]).item() for quality in (95, 30))
    assert high < low < 0


def test_the_text_has_no_part_in_it():
    reward = load_jpeg("jpeg", quality=95)
    assert torch.equal(reward.score(PICTURES, TEXTS), reward.score(PICTURES, TEXTS[::-1]))


def test_it_is_a_reward_without_a_network():
    reward = load_jpeg("small_files", quality=95)
    assert isinstance(reward, Reward)
    assert (reward.name, reward.module) == ("small_files", None)
    assert reward.score(PICTURES, TEXTS).dtype == torch.float32


def test_too_few_texts_are_refused():
    with pytest.raises(ValueError, match="got 2 pictures and 1 texts"):
        load_jpeg("jpeg", quality=95).score(PICTURES, TEXTS[:1])


@pytest.mark.parametrize("quality", [0, 96])
def test_a_quality_that_jpeg_has_not_is_refused_with_the_setting_to_change(quality):
    with pytest.raises(ValueError, match=rf"from 1 to 95, got {quality}.*rewards.jpeg.quality"):
        load_jpeg("jpeg", quality=quality)
