"""The same captions side by side: the base and every method, a row a caption."""

import numpy as np
import pytest
from whole_runs import CAPTIONS, measured_by_hand, write_pictures

from flows.compare.images import images_plot

MANY = {f"p{number:02d}": f"caption {number}" for number in range(24)}


@pytest.fixture
def runs(tmp_path):
    return measured_by_hand(tmp_path, seeds=[7])[1]


def keep(runs, *captions, **how):
    """Write the pictures of the base and of each run."""
    for folder, kept in zip((runs[0].placed.base, *(each.placed.judged for each in runs)), captions, strict=True):
        write_pictures(folder / "pictures", kept, **how)


def test_a_row_is_a_caption_and_a_column_the_base_or_a_method(runs, figures, tmp_path):
    keep(runs, CAPTIONS, CAPTIONS, CAPTIONS)
    assert images_plot(runs, tmp_path, "images-one") == "images-one"
    axes = figures["images-one"].axes
    assert len(axes) == 2 * 4
    assert not any(axis.axison for axis in axes)
    assert [axis.get_title() for axis in axes] == ["", "base", "fine", "coarse", "", "", "", ""]
    assert [axes[place].texts[0].get_text() for place in (0, 4)] == ["a red square", "a blue circle"]
    for row, grey in ((axes[1:4], 0), (axes[5:8], 1)):
        for axis in row:
            np.testing.assert_array_equal(axis.images[0].get_array(), np.full((4, 4, 3), grey))


def test_only_captions_that_all_have_kept_are_shown(runs, figures, tmp_path):
    """The picture of a caption is found by its id: of `p1` it is the second of the base and the first of a method."""
    keep(runs, CAPTIONS, {"p1": "a blue circle"}, CAPTIONS)
    images_plot(runs, tmp_path, "images")
    caption, base, fine, coarse = figures["images"].axes
    assert caption.texts[0].get_text() == "a blue circle"
    assert [axis.images[0].get_array().max() for axis in (base, fine, coarse)] == [1, 0, 1]


def test_without_a_common_caption_there_is_no_picture(runs, figures, tmp_path):
    keep(runs, CAPTIONS, {"p1": "a blue circle"}, {"p0": "a red square"})
    assert images_plot(runs, tmp_path, "images") is None
    assert figures == {}


@pytest.mark.parametrize(("edge", "shown"), [(4, range(0, 24, 2)), (160, range(0, 24, 4))])
def test_of_many_captions_twelve_are_shown_and_of_large_ones_six_spread_evenly(runs, figures, tmp_path, edge, shown):
    keep(runs[:1], MANY, MANY, edge=edge)
    images_plot(runs[:1], tmp_path, "images")
    texts = [axis.texts[0].get_text() for axis in figures["images"].axes if axis.texts]
    assert texts == [f"caption {number}" for number in shown]
