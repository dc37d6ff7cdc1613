"""Pictures of runs whose numbers are written by hand: the grid, base beside aligned, and curves over rounds."""

import numpy as np
import pytest
from handmade import TEXTS, begun, finish, forge, images, judge
from matplotlib.figure import Figure
from PIL import Image

from flows.report.pictures import Kept, _compare, _values, before_after, curves, grid

pytestmark = pytest.mark.usefixtures("own_store")


def kept(number, side):
    pictures = np.arange(number, dtype=np.uint8)[:, None, None, None] + np.zeros((1, side, side, 3), np.uint8)
    return Kept([f"id {n}" for n in range(number)], [f"text {n}" for n in range(number)], pictures)


def count(picture, shade):
    return (picture == shade).all(axis=-1).sum()


def lines(picture):
    """Whether there are lines of matplotlib's first two colours, (31, 119, 180) and (255, 127, 14)."""
    blue_over_red = picture[:, :, 2].astype(int) - picture[:, :, 0]
    return [(blue_over_red > 80).sum() > 20, (blue_over_red < -80).sum() > 20]


def drawn(rewards, rounds=(1, 2)):
    axis = Figure().subplots()
    _compare(axis, rounds, rewards, "reward")
    return axis


def test_a_grid_holds_each_picture_enlarged_without_smoothing():
    pictures = np.arange(3 * 16 * 16 * 3, dtype=np.uint8).reshape(3, 16, 16, 3)
    made = grid(pictures)
    assert made.shape == (2 * 66, 2 * 66, 3)
    np.testing.assert_array_equal(made[1:65, 67:131][::4, ::4], pictures[1])
    assert (made[66:, 66:] == 255).all()


def test_of_several_numbers_of_steps_the_pictures_of_the_first_are_read():
    run, params = begun()
    found = Kept.of(judge(run, params, 3, num_steps=(4, 8)))
    assert found.ids == ["tuning-0", "tuning-1"]
    assert found.texts == list(TEXTS[:2])
    assert found.pictures.shape == (2, 16, 16, 3)
    assert [picture.max() for picture in found.pictures] == [103, 203]


@pytest.mark.parametrize(("side", "times"), [(16, 1.0), (156, 1.0), (312, 2.0), (390, 2.5), (400, 2.5)])
def test_a_page_gives_larger_pictures_larger_cells_up_to_a_limit(side, times):
    assert kept(1, side).enlargement == times


def test_a_page_shows_all_small_pictures_and_of_large_ones_eight_spread_evenly():
    assert kept(12, 16).for_a_page().ids == [f"id {n}" for n in range(12)]
    few = kept(12, 160).for_a_page()
    assert few.ids == [f"id {n}" for n in (0, 1, 3, 4, 6, 7, 9, 10)]
    assert [picture.max() for picture in few.pictures] == [0, 1, 3, 4, 6, 7, 9, 10]
    assert few.texts[2] == "text 3"
    assert kept(5, 160).for_a_page().ids == [f"id {n}" for n in range(5)]


def test_base_and_aligned_stand_side_by_side_with_their_captions(tmp_path):
    run, params = begun()
    base, aligned = (judge(run, params, n, "test", judge_a=[0.25, 0.5]) for n in (0, 3))
    before_after(base, aligned, params, tmp_path / "two.png")
    picture = np.asarray(Image.open(tmp_path / "two.png").convert("RGB"))
    assert picture.shape == (round(120 * (1.32 + 0.3)), 120 * 9.6, 3)
    areas = [count(picture, shade) for shade in (100, 103, 200, 203)]
    assert min(areas) == pytest.approx(max(areas), rel=0.05)
    assert min(areas) > 60 * 60
    columns = [np.argwhere(picture[:, :, 0] == shade)[:, 1].mean() for shade in (100, 103, 200, 203)]
    assert columns == sorted(columns)


def test_the_figure_below_a_picture_is_of_the_first_number_of_steps_and_of_the_trained_reward():
    run, params = begun()
    folder = judge(run, params, 0, num_steps=(4, 8), judge_a=[0.25, 0.75], judge_b=[0.5, 0.5])
    assert _values(folder, "judge_a") == {"tuning-0": 0.25, "tuning-1": 0.75}
    assert _values(folder, "jpeg") == {}


def test_rewards_of_one_scale_share_an_axis_in_their_unit():
    axis = drawn({"judge_a": [0.5, 0.6], "judge_b": [0.4, 0.7]})
    assert axis.get_ylabel() == "reward"
    assert [(line.get_label(), line.get_ydata().tolist()) for line in axis.lines] == [
        ("judge_a", [0.5, 0.6]),
        ("judge_b", [0.4, 0.7]),
    ]


def test_rewards_whose_changes_would_be_hidden_are_drawn_as_parts_of_their_largest_change():
    axis = drawn({"hps": [0.25, 0.27, 0.26], "aesthetic": [5.0, 4.0, 6.0], "still": [1.0, 1.0, 1.0]}, (1, 2, 3))
    assert axis.get_ylabel() == "change, as a part of its largest"
    assert [line.get_label() for line in axis.lines] == ["hps, 0.25 to 0.26", "aesthetic, 5 to 6", "still, 1 to 1"]
    for line, values in zip(axis.lines, ([0, 1, 0.5], [0, -1, 1], [0, 0, 0]), strict=True):
        assert line.get_ydata() == pytest.approx(values)


def test_a_reward_alone_is_never_scaled():
    assert drawn({"hps": [0.1, 100.0]}).get_ylabel() == "reward"


def test_curves_show_what_was_trained_what_was_judged_the_spread_and_the_movement(tmp_path):
    run, params = begun("run.rounds=2")
    for number in range(3):  # the third is one more than is asked for
        judge(run, params, number, rule_soft=[0.1 * number])
        finish(run, {"reward/judge_a/mean": 0.5 + 0.1 * number, "update/kl": 0.01 * number})
    curves(run, params, tmp_path / "curves.png")
    picture = np.asarray(Image.open(tmp_path / "curves.png").convert("RGB"))
    assert picture.shape == (715, 1210, 3)
    panels = [half for rows in (picture[:357], picture[357:]) for half in (rows[:, :605], rows[:, 605:])]
    assert [lines(panel) for panel in panels] == [[True, False], [True, True], [True, True], [True, False]]


def test_a_page_shows_at_most_128_small_pictures():
    shown = kept(1000, 1).for_a_page()
    assert (len(shown.ids), shown.ids[:2], shown.ids[-1]) == (128, ["id 0", "id 7"], "id 992")


@pytest.mark.parametrize(
    "change",
    [
        images(4),
        images(4, 4),
        images(4, 4, 1),
        images(4, 4, 4),
        images(1, 4, 4, 3),
        images(4, 4, 3, kind=np.float32),
        images(1, 8193, 3),
        images(8193, 1, 3),
    ],
)
def test_what_is_no_picture_of_three_colours_is_refused(change):
    run, params = begun()
    folder = judge(run, params, 0)
    forge(folder, "pictures", change)
    with pytest.raises(ValueError, match="Pictures of 1 to 8192 pixels a side in three colours of 8 bits are required"):
        Kept.of(folder)


def test_pictures_of_other_prompts_are_not_put_side_by_side(tmp_path):
    run, params = begun()
    base, aligned = (judge(run, params, number, "test") for number in (0, 2))
    forge(aligned, "pictures", lambda rows: rows.take([1, 0]))
    with pytest.raises(ValueError, match=f"Pictures of the same prompts are required in {base} and {aligned}, got"):
        before_after(base, aligned, params, tmp_path / "two.png")
    assert not (tmp_path / "two.png").exists()
