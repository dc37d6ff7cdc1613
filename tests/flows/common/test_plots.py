"""Text on plots: drawn as it is written, by a font that has it, in a place of bounded size."""

import numpy as np
import pytest
from captions import ALL, CAPTIONS
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from flows.common import plots
from flows.common.plots import save, wrapped

FIRE = "\u706b"


@pytest.fixture(autouse=True)
def nothing_was_said(monkeypatch):
    monkeypatch.setattr(plots, "_told", set())


def figure_with(*texts):
    figure = Figure(figsize=(4, 3), layout="constrained")
    axis = figure.subplots()
    for text in texts:
        axis.text(0.5, 0.5, text, ha="center", va="center", fontsize=40)
    axis.axis("off")
    return figure


def dark(path):
    return int((np.asarray(Image.open(path).convert("L")) < 128).sum())


def write_font(path):
    """A font with one character, FIRE, as a full square."""
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "fire"])
    builder.setupCharacterMap({ord(FIRE): "fire"})
    pen = TTGlyphPen(None)
    for point, draw in zip(((0, 0), (0, 800), (800, 800), (800, 0)), (pen.moveTo, *[pen.lineTo] * 3), strict=True):
        draw(point)
    pen.closePath()
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "fire": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "fire": (1000, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "G2RPO Fire", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    builder.save(path)


@pytest.mark.parametrize("form", ["png", "svg"])
def test_no_caption_ends_in_an_error_wherever_it_stands(tmp_path, form):
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    for caption in CAPTIONS:
        axis.text(0.5, 0.5, wrapped(caption, 20))
    axis.plot([0, 1], [0, 1], label=CAPTIONS[0])
    axis.set_xticks(range(len(CAPTIONS)), CAPTIONS)
    axis.set(title=ALL, xlabel=CAPTIONS[2])
    axis.legend()
    figure.suptitle(CAPTIONS[7])
    save(figure, tmp_path / f"a.{form}", dpi=40, form=form)
    assert [path.name for path in tmp_path.iterdir()] == [f"a.{form}"]


def test_dollars_and_backslashes_are_drawn_and_are_no_mathematics(tmp_path):
    figure = figure_with("$x$", r"$\alpha$")
    save(figure, tmp_path / "a.png", dpi=40)
    shown = [text for text in figure.findobj(Text) if text.get_text()]
    assert [text.get_text() for text in shown] == ["$x$", r"$\alpha$"]
    assert not any(text.get_parse_math() or text.get_usetex() for text in shown)


def test_a_font_of_the_machine_draws_what_the_style_lacks(tmp_path, monkeypatch, capsys):
    write_font(tmp_path / "fire.ttf")
    monkeypatch.setattr(plots, "_system_fonts", lambda: [str(tmp_path / "fire.ttf")])
    save(figure_with(FIRE), tmp_path / "with.png", dpi=100)
    assert capsys.readouterr().err == ""
    # a square of 0.8 of 40 points at 100 dots an inch
    assert dark(tmp_path / "with.png") == pytest.approx((0.8 * 40 * 100 / 72) ** 2, rel=0.1)


def test_what_no_font_has_is_told_once_with_the_package_that_has_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(plots, "_system_fonts", list)
    for _ in range(2):
        save(figure_with(f"a {FIRE}"), tmp_path / "a.png", dpi=40)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"plots: no font of this machine has {FIRE}; boxes are drawn in their place.")
    assert line.endswith("apt-get install fonts-noto-cjk")
    save(figure_with("🦊 \U00013000"), tmp_path / "a.png", dpi=40)
    assert capsys.readouterr().err.endswith("apt-get install fonts-noto-core fonts-symbola\n")


def test_a_file_that_is_no_font_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / "broken.ttf").write_bytes(b"junk")
    monkeypatch.setattr(plots, "_system_fonts", lambda: [str(tmp_path / "broken.ttf"), str(tmp_path / "lost.ttf")])
    save(figure_with(FIRE), tmp_path / "a.png", dpi=40)
    assert (tmp_path / "a.png").is_file()


def test_a_caption_is_broken_into_lines_and_a_wide_letter_is_as_wide_as_two():
    assert wrapped("a red circle above a blue square", 12) == "a red circle\nabove a blue\nsquare"
    assert wrapped(FIRE * 8, 8) == "\n".join([FIRE * 4] * 2)
    assert wrapped("one two three four", 5, lines=2) == "one\ntwo …"
    assert wrapped("x" * 100, 10, lines=3).count("\n") == 2
    assert wrapped("", 10) == ""


def test_a_title_has_bounded_lines(tmp_path):
    figure = figure_with("y" * 500, "line\n" * 500)
    save(figure, tmp_path / "a.png", dpi=20)
    long, tall = [text.get_text() for text in figure.axes[0].texts]
    assert long == "y" * 120 + "…"
    assert tall == "line\n" * 12 + "…"
