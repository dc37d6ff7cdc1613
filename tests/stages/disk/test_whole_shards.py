"""Shards that no manifest names: each byte counts, also where Parquet has no checksum."""

import struct

import numpy as np
import pyarrow as pa
import pytest

from stages.disk.tables import REWARDS, TABLES, TENSOR, arrow, shard_path, write_shard
from stages.disk.whole_shards import is_as_written


@pytest.fixture
def folder(tmp_path):
    keys = {"prompt_id": ["p", "p"], "window": [0, 0], "branch": [0, 1], "granularity": [1, 1]}
    rows = arrow(REWARDS, keys | {"reward": ["judge_a"] * 2, "value": [0.25, 0.5]})
    write_shard(tmp_path / "rewards", 0, REWARDS, rows, stamp="made of this", evaluations=7)
    return tmp_path / "rewards"


def value(kind, row):
    """A value of a column's type."""
    if pa.types.is_list(kind):
        return [{field.name: value(field.type, row) for field in kind.value_type}] * (row + 1)
    if pa.types.is_boolean(kind) or pa.types.is_binary(kind):
        return row == 1 if pa.types.is_boolean(kind) else b"bytes"
    return f"text {row}" if pa.types.is_string(kind) else row


@pytest.mark.parametrize("name", TABLES)
def test_a_shard_of_every_table_is_as_it_was_written(tmp_path, name):
    table = TABLES[name]
    pixels = np.arange(12, dtype=np.uint8 if name == "pictures" else np.float32).reshape(3, 2, 2)
    columns = {
        column: pixels if kind == TENSOR else [value(kind, row) for row in range(3)]
        for column, kind in table.columns.items()
    }
    write_shard(tmp_path / name, 0, table, arrow(table, columns), stamp="s", evaluations=3)
    assert is_as_written(tmp_path / name, 0)


def footer_of(content):
    """The places of the footer in a Parquet file: it ends with the footer's length and a magic number."""
    (length,) = struct.unpack("<I", content[-8:-4])
    return range(len(content) - 8 - length, len(content))


def survivors(folder, step):
    """The places of the footer at which a flipped byte is not seen."""
    path = shard_path(folder, 0)
    whole = path.read_bytes()
    missed = []
    for place in footer_of(whole)[::step]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        if is_as_written(folder, 0):
            missed.append(place)
    path.write_bytes(whole)
    return missed


def test_a_shard_as_it_was_written_is_whole_and_another_is_not(folder):
    assert is_as_written(folder, 0)
    path = shard_path(folder, 0)
    path.write_bytes(path.read_bytes() + b"more")
    assert not is_as_written(folder, 0)
    path.unlink()
    assert not is_as_written(folder, 0)


def test_a_flipped_byte_of_the_footer_is_seen(folder):
    assert survivors(folder, 97) == []


@pytest.mark.slow
def test_every_flipped_byte_of_the_footer_is_seen(folder):
    assert survivors(folder, 1) == []
