"""The pages of a Parquet file as their own headers describe them: a reader goes by these, whatever the footer says.

A header is a struct in Thrift's compact protocol, of which numbers, texts and structs occur.
Source: Apache Parquet 2.11, `parquet.thrift`, struct PageHeader.
"""

import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_UNCOMPRESSED, _COMPRESSED, _DATA, _DATA_2, _VALUES = 2, 3, 5, 8, 1  # of PageHeader; the last of its structs
_DEEPEST = 4  # structs within each other


@dataclass(frozen=True)
class Page:
    """A page of a column. Example: `Page(leaf=0, values=1000, size=4096)`."""

    leaf: int
    values: int
    """Rows, or elements of lists in them; 0 for a dictionary."""
    size: int
    """Bytes after decompression."""


def pages(path: Path, about: pq.FileMetaData, leaves: Iterable[int]) -> Iterator[Page]:
    """Yield the pages of some leaves of a file's tree of columns.

    Raises:
        ArrowInvalid: If a header cannot be read.
    """
    chosen = list(leaves)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for number in range(about.num_row_groups):
            for leaf in chosen:
                chunk = about.row_group(number).column(leaf)
                if chunk.num_values < 1:  # nothing of it is read
                    continue
                start = chunk.data_page_offset
                if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
                    start = chunk.dictionary_page_offset
                yield from _of_chunk(content, leaf, start, start + chunk.total_compressed_size)


def _of_chunk(content: mmap.mmap, leaf: int, place: int, end: int) -> Iterator[Page]:
    while place < end:
        try:
            header, place = _struct(content, place)
            size, step = header[_UNCOMPRESSED], header[_COMPRESSED]
            values = header.get(_DATA, header.get(_DATA_2, {_VALUES: 0}))[_VALUES]
        except (IndexError, KeyError, TypeError) as error:
            raise pa.ArrowInvalid("headers of pages are required, got something else") from error
        if min(place, size, step, values) < 0:
            raise pa.ArrowInvalid(f"pages of positive sizes are required, got {size}, {step} and {values}")
        place += step
        yield Page(leaf, values, size)


def _struct(content: mmap.mmap, place: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """Return the fields of a struct by their numbers, texts left out, and the place after it."""
    fields, number = dict[int, Any](), 0
    while kind := content[place] & 0xF:
        step, place = content[place] >> 4, place + 1
        if step:
            number += step
        else:
            number, place = _number(content, place)
        match kind:
            case 1 | 2:  # true and false
                pass
            case 4 | 5 | 6:
                fields[number], place = _number(content, place)
            case 8:
                length, place = _varint(content, place)
                place += length
            case 12 if depth < _DEEPEST:
                fields[number], place = _struct(content, place, depth + 1)
            case _:
                raise IndexError(f"a field of kind {kind}")
    return fields, place + 1


def _number(content: mmap.mmap, place: int) -> tuple[int, int]:
    value, place = _varint(content, place)
    return (value >> 1) ^ -(value & 1), place


def _varint(content: mmap.mmap, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = content[place]
        value, place = value | (byte & 0x7F) << shift, place + 1
        if byte < 0x80:
            return value, place
    raise IndexError("a number of more than ten bytes")
