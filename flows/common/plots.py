"""Text on plots, and the one way in which a plot is written.

matplotlib takes text between two dollars for mathematics and ends in an error if it is none, draws a box for a
character that its font lacks, and gives a text all the space that it asks for. Captions of others are drawn as they
are written: in lines of bounded number and length, by fonts of this machine that have their characters.
"""

import sys
import unicodedata
import warnings
from functools import cache
from pathlib import Path
from textwrap import wrap
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, findSystemFonts, fontManager, get_font
from matplotlib.text import Text

from flows.common.escape import say, visible
from stages.disk.files import atomic

_PLAIN: dict[Any, Any] = {"text.parse_math": False, "text.usetex": False}
_LONGEST, _MOST_LINES = 120, 12
"""Letters in a line, and lines in a text; the rest is an ellipsis."""
_SECOND = "\ue000"
"""Stands beside a letter that is as wide as two while lines are counted."""
_PACKAGES = {
    "fonts-noto-cjk": ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "FULLWIDTH", "IDEOGRAPHIC", "BOPOMOFO"),
    "fonts-symbola": (),
    "fonts-noto-core": (),
}
"""Debian's fonts by the first word of their characters' names: the second is for symbols, the third for the rest."""
_DRAWN_BY_OTHERS = ("Cf", "Mn", "Me", "Zs", "Cc", "Co", "Cn")
"""Categories without a shape of their own, such as the selectors and joiners of emoji."""
_told: set[str] = set()


def wrapped(text: str, columns: int, *, lines: int = 6) -> str:
    """Return a caption in lines of at most `columns` letters, a wide letter as two; the rest is an ellipsis."""
    doubled = "".join(f"{letter}{_SECOND}" if _is_wide(letter) else letter for letter in visible(text))
    return "\n".join(wrap(doubled, columns, max_lines=lines, placeholder=" …")).replace(_SECOND, "")


def save(figure: Figure, path: Path, *, dpi: int, form: str = "png", metadata: dict[str, Any] | None = None) -> None:
    """Write a figure, whole or not at all; no text on it is mathematics, and none ends in an error.

    Characters that no font of this machine has are drawn as boxes, which is said once.
    """
    texts = [artist for artist in figure.findobj(Text) if isinstance(artist, Text)]
    for text in texts:
        text.set_parse_math(False)
        text.set_usetex(False)
        text.set_text(_bounded(text.get_text()))
    families = _families("".join(text.get_text() for text in texts))
    for text in texts if families else []:
        text.set_fontfamily([*text.get_fontfamily(), *families])
    ticks = {"font.family": [*mpl.rcParams["font.family"], *families]}  # they are made while the figure is drawn
    with mpl.rc_context(_PLAIN | ticks), warnings.catch_warnings(), atomic(path) as temporary:
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        warnings.filterwarnings("ignore", "constrained_layout not applied")  # of a text as large as the figure
        figure.savefig(temporary, dpi=dpi, format=form, metadata=metadata)


def _bounded(text: str) -> str:
    lines = visible(text).splitlines()
    kept = [line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…" for line in lines[:_MOST_LINES]]
    return "\n".join([*kept, "…"] if len(lines) > _MOST_LINES else kept)


def _is_wide(letter: str) -> bool:
    return unicodedata.east_asian_width(letter) in "WF"


def _families(text: str) -> list[str]:
    """Return the fonts, beside the one of the style, that are needed for a text; say once what none has."""
    drawn = {letter for letter in text if unicodedata.category(letter) not in _DRAWN_BY_OTHERS}
    lacking, families = drawn - _letters(findfont(FontProperties())), list[str]()
    for path in _system_fonts() if lacking else ():
        if lacking & _letters(path):
            fontManager.addfont(path)  # matplotlib's own list may be older than the font
            families.append(get_font(path).family_name)
            lacking -= _letters(path)
        if not lacking:
            break
    if new := lacking - _told:
        _told.update(new)
        packages = " ".join(sorted({_package(letter) for letter in new}))
        say(
            f"plots: no font of this machine has {' '.join(sorted(new)[:10])}{' ...' if len(new) > 10 else ''}; boxes "
            f"are drawn in their place. Install one; on Debian: apt-get install {packages}",
            file=sys.stderr,
            flush=True,
        )
    return families


@cache
def _system_fonts() -> list[str]:
    return sorted(findSystemFonts(), key=lambda path: ("Regular" not in path, path))


@cache
def _letters(path: str) -> frozenset[str]:
    """Return the characters that a font can draw; none if matplotlib cannot read it or scale it."""
    try:
        font = get_font(path)
    except (RuntimeError, OSError, ValueError):
        return frozenset()
    return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()


def _package(letter: str) -> str:
    cjk, symbols, others = _PACKAGES
    if unicodedata.name(letter, "").split(" ")[0].split("-")[0] in _PACKAGES[cjk]:
        return cjk
    return symbols if unicodedata.category(letter).startswith("S") else others
