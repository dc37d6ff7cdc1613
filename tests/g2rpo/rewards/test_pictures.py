"""Pictures as scorers see them."""

import numpy as np
import pytest
from PIL import Image

from g2rpo.rewards.pictures import middle


def picture(width, height):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(40, 40), (160, 40), (161, 40), (10, 40), (1, 4)])
def test_a_picture_of_up_to_4_to_1_is_kept_as_it_is(size):
    whole = picture(*size)
    assert middle(whole) is whole


@pytest.mark.parametrize(("size", "kept"), [((8, 100_000), (8, 32)), ((101, 2), (9, 2)), ((1, 10), (1, 4))])
def test_a_longer_picture_becomes_its_middle(size, kept):
    whole = picture(*size)
    cut = middle(whole)
    assert cut.size == kept
    left, top = (size[0] - kept[0]) / 2, (size[1] - kept[1]) / 2
    assert cut.tobytes() == whole.crop((left, top, left + kept[0], top + kept[1])).tobytes()


def test_the_middle_square_is_the_same_whether_a_picture_is_cut_or_resized_first():
    whole = picture(1000, 32)

    def square(seen):
        resized = seen.resize((seen.width * 7, 224), Image.Resampling.BICUBIC)
        left = (resized.width - 224) // 2
        return resized.crop((left, 0, left + 224, 224)).tobytes()

    assert square(middle(whole)) == square(whole)
