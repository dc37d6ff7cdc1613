"""Checks that rows have their parents in other tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from stages.disk.tables import Table


def check_parents(child: pa.Table, table: Table, parents: Mapping[str, pa.Table]) -> None:
    """Refuse rows without a parent: each foreign key must match a row of its parent table.

    Raises:
        ValueError: With the table, the parent and a key without a row there.
    """
    for name, columns in table.parents.items():
        if name in parents:
            check_foreign_key(table.name, child, name, parents[name], columns)


def check_foreign_key(name: str, child: pa.Table, parent_name: str, parent: pa.Table, columns: Sequence[str]) -> None:
    """Refuse a child row whose values in the columns match no parent row.

    Raises:
        ValueError: With both names and a key without a row.
    """
    orphans = _keys(child, columns) - _keys(parent, columns)
    if orphans:
        raise ValueError(
            f"Each row of {name} needs a row of {parent_name} with its {', '.join(columns)}, got none for "
            f"{min(orphans)}. Run the stage that writes {parent_name} again."
        )


def _keys(rows: pa.Table, columns: Sequence[str]) -> set[tuple[Any, ...]]:
    return set(zip(*(rows[column].to_pylist() for column in columns), strict=True))
