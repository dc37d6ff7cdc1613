"""Small tables as lists of rows, each a mapping by column."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from flows.common.escape import for_spreadsheets
from stages.disk.files import atomic

Row = dict[str, Any]
Rows = list[Row]


def pick(rows: Iterable[Row], **equal: Any) -> Rows:
    """Return the rows that have these values."""
    return [row for row in rows if all(row[name] == value for name, value in equal.items())]


def grouped(rows: Iterable[Row], names: Sequence[str]) -> list[tuple[Row, Rows]]:
    """Return the groups of rows with equal values in these columns, each with these values, in order of appearance."""
    groups: dict[tuple[Any, ...], Rows] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return [(dict(zip(names, key, strict=True)), group) for key, group in groups.items()]


def distinct(rows: Iterable[Row], name: str) -> list[Any]:
    """Return the values of a column, each once, in order of appearance."""
    return list(dict.fromkeys(row[name] for row in rows))


def column(rows: Iterable[Row], name: str) -> list[Any]:
    """Return the values of a column."""
    return [row[name] for row in rows]


def write_csv(path: Path, rows: Rows | pd.DataFrame) -> None:
    """Write rows as a CSV file, atomically; nan becomes an empty field, and no text is a formula."""
    table = pd.DataFrame(rows).map(for_spreadsheets).rename(columns=for_spreadsheets)
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False)
