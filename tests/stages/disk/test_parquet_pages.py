import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.disk.parquet_pages import Page, pages


def written(path, rows, **how):
    pq.write_table(rows, path, **how)
    return path, pq.read_metadata(path)


def read(path, about, leaves=(0,)):
    return list(pages(path, about, leaves))


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_pages_tell_their_values_and_their_bytes_without_compression(tmp_path, version, compression):
    table = pa.table({"a": pa.array([1, 2, 3], pa.int64()), "b": pa.array([[1.0, 2.0], [], [3.0]])})
    how = {"compression": compression, "data_page_version": version, "use_dictionary": False}
    numbers, elements = read(*written(tmp_path / "x", table, **how), leaves=(0, 1))
    assert (numbers.leaf, numbers.values) == (0, 3)
    assert (elements.leaf, elements.values) == (1, 4)  # an empty list counts as one
    assert 24 <= numbers.size < 50


def test_a_dictionary_is_a_page_without_values_and_each_group_of_rows_has_its_own(tmp_path):
    table = pa.table({"a": ["x" * 100] * 6})
    found = read(*written(tmp_path / "x", table, row_group_size=3, compression="none"))
    assert [page.values for page in found] == [0, 3, 0, 3]
    assert found[0] == Page(0, 0, 104)


def test_a_column_of_many_pages_has_the_bytes_of_all(tmp_path):
    table = pa.table({"a": np.arange(10_000)})
    found = read(*written(tmp_path / "x", table, data_page_size=1000, use_dictionary=False, compression="none"))
    assert len(found) > 5
    assert sum(page.values for page in found) == 10_000
    assert 80_000 <= sum(page.size for page in found) < 90_000


def test_a_column_without_values_has_no_page(tmp_path):
    assert read(*written(tmp_path / "x", pa.table({"a": pa.array([], pa.string())}))) == []


@pytest.mark.parametrize("content", [b"\xff" * 40, b"\x00" * 40, b"\x1c" * 40, b"\x15\x00" * 20, b"\x15\x01" * 20])
def test_what_is_no_header_is_refused(tmp_path, content):
    path, about = written(tmp_path / "x", pa.table({"a": ["x" * 100]}), compression="none", use_dictionary=False)
    raw = path.read_bytes()
    path.write_bytes(raw[:4] + content + raw[4 + len(content) :])
    with pytest.raises(pa.ArrowInvalid, match="are required, got"):
        read(path, about)


def test_a_header_at_the_end_of_the_file_is_refused(tmp_path):
    path, about = written(tmp_path / "x", pa.table({"a": ["x"] * 100}))
    path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(pa.ArrowInvalid, match="headers of pages are required"):
        read(path, about)
