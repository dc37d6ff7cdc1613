"""Parquet files of others: how much memory their columns take is known before they are read.

A text that stands in a file once may stand in a million rows, and a run of equal numbers takes a few bytes. So values
are counted by the headers of the pages; texts are read first as places in a dictionary, and their lengths added up.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.disk.parquet_pages import pages

_BYTES = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8, "BYTE_ARRAY": 4}
"""Of a value by its physical type; of a text, its place."""
_LEAST, _TIMES = 2**28, 64
_OF_A_ROW = 64  # bytes, once it is an object of Python
_ROWS = 2**16  # in a batch
_WITHOUT_DICTIONARY = {"DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"}
"""Encodings of texts that Arrow cannot read as places in a dictionary; the first shares the texts' beginnings."""


class TooLargeError(ValueError):
    """The values of a file take more memory than they may; the message says how much, and not whose."""


def read_bounded(path: Path, *, most: int, columns: Collection[str] | None = None) -> pa.Table:
    """Return columns of a Parquet file, all for None, whose values take so many bytes of memory at most.

    Raises:
        TooLargeError: If they take more.
        OSError, ArrowException: If the file is none, or damaged.
    """
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        leaves = [leaf for leaf in range(file.metadata.num_columns) if _is_in(file, leaf, columns)]
        size = _least_bytes(path, file, leaves)
        _require(size, most)
        texts = [leaf for leaf in leaves if file.schema.column(leaf).physical_type == "BYTE_ARRAY"]
        placed = {file.schema.column(leaf).path for leaf in texts if not _encodings(file, leaf) & _WITHOUT_DICTIONARY}
        others = {file.schema.column(leaf).path for leaf in texts} - placed
        _require_texts(path, placed, most, rows=_ROWS)
        _require_texts(path, others, most, rows=max(1, min(most // max(1, size), _ROWS)), as_they_are=True)
        return file.read(None if columns is None else list(columns), use_threads=False)


def read_ours(path: Path) -> pa.Table:
    """Return a table that `encode_shard` wrote, which has equal texts once: of 1,000 characters 64 times its bytes.

    Raises:
        TooLargeError: If its values take more than 256 MiB and 64 times the bytes of the file.
        OSError, ArrowException: If the file is none, or damaged.
    """
    return read_bounded(path, most=_LEAST + _TIMES * path.stat().st_size)


def _is_in(file: pq.ParquetFile, leaf: int, columns: Collection[str] | None) -> bool:
    """Whether a leaf of the file's tree belongs to one of the columns."""
    path = file.schema.column(leaf).path
    return columns is None or any(path == name or path.startswith(f"{name}.") for name in columns)


def _least_bytes(path: Path, file: pq.ParquetFile, leaves: Collection[int]) -> int:
    """Return what rows and pages take, with each text as a place in a dictionary."""
    kinds = {leaf: file.schema.column(leaf) for leaf in leaves}
    widths = {leaf: _BYTES.get(kind.physical_type, kind.length) for leaf, kind in kinds.items()}
    sizes = (max(page.size, page.values * widths[page.leaf]) for page in pages(path, file.metadata, leaves))
    return _OF_A_ROW * file.metadata.num_rows + sum(sizes)


def _encodings(file: pq.ParquetFile, leaf: int) -> set[str]:
    groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
    return {encoding for group in groups for encoding in group.column(leaf).encodings}


def _require_texts(path: Path, texts: set[str], most: int, *, rows: int, as_they_are: bool = False) -> None:
    """Refuse texts of more than `most` bytes, where equal ones count each; read so many rows at once."""
    names, size = sorted(texts), 0
    with pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=[] if as_they_are else names) as file:
        for batch in file.iter_batches(rows, columns=names, use_threads=False) if names else ():
            size += sum(map(_text_bytes, batch.columns))
            _require(size, most)


def _text_bytes(values: Any) -> int:
    """Return the bytes of an array without its dictionaries: as if each place held a copy of its text."""
    if isinstance(values, pa.ExtensionArray):
        return _text_bytes(values.storage)
    if pa.types.is_dictionary(values.type):
        lengths = pc.call_function("binary_length", [values.dictionary]).cast(pa.int64())
        return pc.call_function("sum", [lengths.take(values.indices)]).as_py() or 0
    if pa.types.is_struct(values.type):
        return sum(map(_text_bytes, values.flatten()))
    if pa.types.is_map(values.type):
        return values.nbytes + _text_bytes(values.keys) + _text_bytes(values.items)
    if pa.types.is_nested(values.type):  # lists
        return values.nbytes + _text_bytes(values.flatten())
    return values.nbytes


def _require(size: int, most: int) -> None:
    if size > most:
        raise TooLargeError(f"values of at most {most:,} bytes are required, got {size:,} or more")
