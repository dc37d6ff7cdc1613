"""Text of others on its way out of the program: a function for each place where it would mean something else.

Prompts, names, paths, servers' replies and whatever a run of others says may hold markup, formulas or control codes.

    terminal        say(text), cell(text)
    a page in HTML  page("report.html", ...)
    Markdown        page("model_card.md", ...), or markdown(text), code(text), fenced(text), link(title, address)
    CSV             for_spreadsheets(value), which `flows.common.rows.write_csv` calls
    plots           flows/common/plots.py
"""

import re
from importlib.resources import files
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from rich.text import Text

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control codes but tab and newline
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # another direction, another line
    "\ud800-\udfff\U000e0000-\U000e007f]"  # halves of characters, invisible tags
)
_MARKDOWN = re.compile(
    r"[\\`*\[\]<|~$]"
    r"|(?<!\w)_|_(?!\w)"  # within a word it means nothing
    r"|&(?=#?\w+;)"
    r"|^(?=[-+#>=]+(?:\s|$))|^\d+(?=[.)](?:\s|$))"  # a list, a heading or a quote
)
_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class Markdown(str):
    """Text that is Markdown already, and is not escaped again."""

    __slots__ = ()


def visible(text: object) -> str:
    r"""Return a text whose control codes and changes of direction are seen and not obeyed.

    Example: a reply that would clear the screen begins `\x1b[2J`.
    """
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def say(*values: object, end: str = "\n", file: IO[str] | None = None, flush: bool = False) -> None:
    """Print as `print` does, without control codes."""
    print(*map(visible, values), end=end, file=file, flush=flush)


def cell(text: object) -> "Text":
    """Return a text for a table of rich, in which brackets are no markup."""
    from rich.text import Text

    return Text(visible(text))


def markdown(value: object) -> str:
    r"""Return a text on one line for Markdown, in a table too, in which nothing is markup. Example: `a|b` is `a\|b`."""
    if isinstance(value, Markdown):
        return value
    line = " ".join(visible(value).splitlines())
    return Markdown(_MARKDOWN.sub(lambda found: _escaped(found[0]), line))


def code(value: object) -> str:
    """Return a text as a span of code in Markdown, in a table too."""
    line = " ".join(visible(value).splitlines()).replace("|", "\\|")
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    space = " " if "`" in line else ""
    return Markdown(f"{fence}{space}{line}{space}{fence}")


def fenced(text: str, language: str) -> str:
    """Return a text as a block of code in Markdown, with a fence that the text does not have."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return Markdown(f"{fence}{language}\n{visible(text).strip()}\n{fence}")


def link(title: str, address: str, *, picture: bool = False) -> str:
    """Return a link or a picture in Markdown; an address of another kind than http and https is text."""
    if urlsplit(address).scheme not in ("http", "https"):
        return Markdown(f"{markdown(title)}: {code(address)}")
    return Markdown(f"{'!' * picture}[{markdown(title)}]({quote(address, safe=_OF_ADDRESSES)})")


def cells(values: list[object]) -> str:
    """Return a row of a table in Markdown."""
    return Markdown(f"| {' | '.join(map(markdown, values))} |")


def for_spreadsheets(value: Any) -> Any:
    """Return a value for CSV: a text that a spreadsheet would compute begins with an apostrophe; numbers stay."""
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def page(name: str, **context: Any) -> str:
    """Return a template of flows/templates, in which every value is escaped for HTML or Markdown, by its suffix."""
    from jinja2 import Environment

    is_html = name.endswith(".html")
    environment = Environment(
        autoescape=is_html,
        finalize=_seen if is_html else markdown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=not is_html,
    )
    environment.filters.update(_FILTERS)
    template = files("flows").joinpath(f"templates/{name}").read_text(encoding="utf-8")
    return environment.from_string(template).render(context)


_FILTERS: dict[str, Any] = {"code": code, "fenced": fenced, "cells": cells, "as_is": Markdown}
_OF_ADDRESSES = ":/?#@!$&'*+,;=%~"


def _escaped(found: str) -> str:
    """Return a backslash before a mark; after the number of a list."""
    return f"{found}\\" if found.isdigit() or not found else f"\\{found}"


def _seen(value: Any) -> Any:
    return visible(value) if type(value) is str else value
