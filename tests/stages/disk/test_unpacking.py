"""Parquet files that unpack to a thousand times their size and more."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.disk.unpacking import TooLargeError, read_bounded, read_ours

MIB = 2**20


def written(path, table, **how):
    pq.write_table(table, path, **how)
    return path


def equal(text, count):
    """So many equal texts, which are one in the file."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([text]))


def one_list(values):
    """One row that holds all of the values."""
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)


LARGE = {
    "equal texts": (equal("x" * 1000, 20_000), {}),
    "equal texts in a list": (one_list(equal("x" * 1000, 20_000)), {}),
    "equal texts in a map": (pa.array([[("a", "x" * 10**6)]] * 20, pa.map_(pa.string(), pa.string())), {}),
    "equal texts in structs": (pa.array([{"a": ["x" * 10**6]}] * 20), {}),
    "texts that compress": (pa.array(["x" * MIB + str(n) for n in range(16)]), {"use_dictionary": False}),
    "texts that share a beginning": (
        pa.array(["x" * MIB + str(n) for n in range(16)]),
        {"use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY"},
    ),
    "equal numbers": (pa.array(np.zeros(3 * MIB, np.int8)), {}),
    "equal numbers in a row": (one_list(pa.array(np.zeros(3 * MIB, np.float32))), {}),
    "flags": (pa.array(np.zeros(3 * MIB, bool)), {}),
    "nothing": (pa.nulls(MIB), {}),
    "many small groups": (pa.array(np.zeros(MIB, np.int8)), {"row_group_size": 2**17}),
}


@pytest.mark.parametrize(("values", "how"), LARGE.values(), ids=LARGE)
def test_values_of_more_bytes_than_are_allowed_are_refused(tmp_path, values, how):
    path = written(tmp_path / "x", pa.table({"a": values}), store_schema=False, **({"compression": "zstd"} | how))
    assert path.stat().st_size < MIB / 8
    with pytest.raises(TooLargeError, match=r"values of at most 8,388,608 bytes are required, got [0-9,]+ or more"):
        read_bounded(path, most=8 * MIB)


def varint(number, width=0):
    """A number as the footer has it, at least so many bytes long."""
    number, out = 2 * number, b""
    while number >= 128 or len(out) + 1 < width:
        number, out = number >> 7, out + bytes([number & 127 | 128])
    return out + bytes([number])


def test_a_footer_that_tells_fewer_values_than_there_are_is_not_believed(tmp_path):
    path = written(tmp_path / "x", pa.table({"a": one_list(pa.array(np.zeros(3_000_001, np.float32)))}))
    raw = path.read_bytes()
    start = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
    true = varint(3_000_001)
    assert true in raw[start:]
    path.write_bytes(raw[:start] + raw[start:].replace(true, varint(1, len(true))))
    assert pq.read_metadata(path).row_group(0).column(0).num_values == 1
    with pytest.raises(TooLargeError, match="got 12,"):
        read_bounded(path, most=8 * MIB)


SMALL = {
    "large texts": pa.array(["a", "b"], pa.large_string()),
    "views": pa.array(["a", "b"], pa.string_view()),
    "places": pa.array(["a", None]).dictionary_encode(),
    "bytes": pa.array([b"a", b"b"]),
    "two bytes": pa.array([b"aa", b"bb"], pa.binary(2)),
    "lists": pa.array([["a"], None]),
    "two texts each": pa.array([["a", "b"]], pa.list_(pa.string(), 2)),
    "structs": pa.array([{"a": "x", "b": [1]}, None]),
    "maps": pa.array([[("a", "b")], None], pa.map_(pa.string(), pa.string())),
    "JSON": pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{}", None])),
    "tensors": pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((2, 3, 4), np.uint8)),
    "nothing": pa.nulls(2),
}


@pytest.mark.parametrize("values", SMALL.values(), ids=SMALL)
def test_what_is_small_is_read_as_it_would_be_otherwise(tmp_path, values):
    path = written(tmp_path / "x", pa.table({"a": values}))
    assert read_bounded(path, most=MIB).equals(pq.ParquetFile(path).read())


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", "PLAIN"])
def test_texts_are_read_in_each_encoding(tmp_path, encoding):
    table = pa.table({"a": [f"a cat {number}" for number in range(100)]})
    path = written(tmp_path / "x", table, use_dictionary=False, column_encoding=encoding)
    assert read_bounded(path, most=MIB) == table


def test_only_columns_that_are_read_count(tmp_path):
    table = pa.table({"a": ["x"] * 20, "ab": equal("x" * MIB, 20), "c": [1] * 20})
    path = written(tmp_path / "x", table, store_schema=False)
    assert read_bounded(path, most=MIB, columns=["a", "c"]).column_names == ["a", "c"]
    with pytest.raises(TooLargeError):
        read_bounded(path, most=MIB, columns=["ab"])


def test_a_table_of_ours_may_take_64_times_its_file_and_256_mib(tmp_path):
    path = written(tmp_path / "x", pa.table({"a": equal("x" * 1000, 260_000)}), store_schema=False)
    assert read_ours(path).num_rows == 260_000
    with pytest.raises(TooLargeError, match="at most 270,.* got 300,"):
        read_ours(written(path, pa.table({"a": equal("x" * 1000, 300_000)}), store_schema=False))
