"""How the plots of a comparison look, and the files that they become."""

from math import nan

import matplotlib as mpl
import pytest
from PIL import Image

from flows.compare.style import Look, error_of, figure_of, fit, key_below, panels, print_style, save, text_inches


def test_a_method_keeps_its_colour_and_mark_and_no_two_of_sixteen_share_both():
    look = Look([f"m{number}" for number in range(16)])
    assert look.of("m0") == {"color": "#0072B2", "marker": "o"}
    assert look.of("m1") == {"color": "#D55E00", "marker": "s"}
    assert look.of("m8") == {"color": "#0072B2", "marker": "s"}  # the colours begin again, with another mark
    assert len({tuple(look.of(method).values()) for method in look.methods}) == 16


def test_the_style_is_of_its_context_alone():
    before = mpl.rcParams["axes.grid"], mpl.rcParams["font.size"]
    with print_style():
        assert mpl.rcParams["axes.grid"]
        assert mpl.rcParams["font.size"] == 8
    assert (mpl.rcParams["axes.grid"], mpl.rcParams["font.size"]) == before


def test_a_figure_has_its_panels_row_by_row():
    figure = figure_of(3.0, 2.0)
    assert figure.get_size_inches().tolist() == [3, 2]
    grid = panels(figure, 2, 3, sharex="col")
    assert [len(row) for row in grid] == [3, 3]
    grid[0][0].set_xlim(1, 2)
    assert grid[1][0].get_xlim() == (1, 2)
    assert len(panels(figure_of(1, 1), 1, 1)[0]) == 1


def test_a_figure_is_saved_to_print_and_to_look_at_in_the_same_bytes_each_time(tmp_path):
    for folder in (tmp_path / "one", tmp_path / "two"):
        figure = figure_of(1.0, 0.5)
        panels(figure, 1, 1)[0][0].plot([0, 1], [0, 1])
        assert save(figure, folder, "line") == "line"
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["line.png", "line.svg"]
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in files)
    with Image.open(tmp_path / "one/line.png") as picture:
        assert picture.size == (160, 80)  # dots an inch


def test_an_interval_reaches_below_and_above_its_mean_and_nowhere_where_there_is_none():
    rows = [{"mean": 2.0, "low": 1.5, "high": 4.0}, {"mean": 1.0, "low": nan, "high": nan}]
    assert error_of(rows) == [[0.5, 0.0], [2.0, 0.0]]


@pytest.mark.parametrize(
    ("points", "ends", "limits"),
    [
        ([0.0, 1.0], (0.2, 0.8), (-0.05, 1.05)),  # five per cent beside what the points need
        ([0.0, 1.0], (-0.3, 1.0), (-0.365, 1.065)),  # an interval widens an axis
        ([0.0, 1.0], (-9.0, 9.0), (-0.6, 1.6)),  # by half of what the points need at either end, 5 % of 2 beside it
        ([2.0, 2.0], (nan, nan), (1.9, 2.1)),  # of a single value five per cent
    ],
)
def test_an_axis_shows_all_points_and_intervals_as_far_as_they_do_not_hide_them(points, ends, limits):
    (((axis,),)) = panels(figure_of(1, 1), 1, 1)
    for along, found in (("x", axis.get_xlim), ("y", axis.get_ylim)):
        fit(axis, along, points, [{"low": ends[0], "high": ends[1]}])
        assert found() == pytest.approx(limits)


def test_a_figure_has_one_key_for_all_its_axes_in_as_many_rows_as_it_needs():
    def key(width):
        figure = figure_of(width, 2.0)
        for axis, labels in zip(panels(figure, 1, 2)[0], (("fine", "base"), ("coarse", "base")), strict=True):
            for label in labels:
                axis.plot([0, 1], [0, 1], label=label)
        key_below(figure)
        return figure.legends[0]

    assert [text.get_text() for text in key(4.0).get_texts()] == ["fine", "base", "coarse"]
    # The longest has six letters, .42 inches, and .55 beside it: four in four inches, and never less than one.
    assert (key(4.0)._ncols, key(0.5)._ncols) == (4, 1)


def test_a_text_is_as_wide_as_the_longest():
    assert text_inches(["fine", "coarse"]) == pytest.approx(0.42)
