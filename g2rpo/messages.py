"""Values in the messages of errors: on one line and short, so that a message fits on a screen."""

import reprlib
from collections.abc import Iterable

_MOST = 120
"""Characters of one value."""

_REPR = reprlib.Repr()
_REPR.maxlevel = 3
_REPR.maxdict = _REPR.maxset = _REPR.maxfrozenset = 4
_REPR.maxlist = _REPR.maxtuple = 32
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = _MOST


def shown(value: object) -> str:
    """Return a value as Python writes it, shortened. Example: a text of 1 MB is `'a cat, a …t, a dog'`."""
    return _short(plain(_REPR.repr(value)), 2 * _MOST)


def plain(text: str) -> str:
    """Return a text, shortened, with escapes for what a terminal would obey. Example: a line feed is `\\n`."""
    return escaped(_short(text, 2 * _MOST))


def escaped(text: str, keep: str = "") -> str:
    """Return a text with escapes for what a terminal would obey, except the characters in `keep`."""
    return text if text.isprintable() else "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)


def one_line(text: str, most: int) -> str:
    """Return a text on one line, cut, in which U+FFFD stands for what a terminal would obey."""
    line = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))
    return line if len(line) <= most else f"{line[:most]}..."


def listed(names: Iterable[object], most: int = 16) -> str:
    """Return names with commas, the first of them if there are many. Example: `a, b and 98 more`."""
    every = [plain(str(name)) for name in names]
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-most // 2 :]}"
