import os

import pytest

from stages.disk.files import (
    StoreWriteError,
    atomic,
    atomic_folder,
    make_folder,
    read_sealed,
    sweep,
    value_digest,
    write_json,
    write_sealed,
    write_text,
    writing,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_its_name_only_when_it_is_whole(tmp_path):
    path = tmp_path / "deep" / "file"
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(path.parent) == ["file"]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_the_file_as_it_was(tmp_path, error):
    write_text(tmp_path / "file", "before")
    with pytest.raises(error), atomic(tmp_path / "file") as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise error
    assert (tmp_path / "file").read_text() == "before"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_the_folder_as_it_was(tmp_path, error):
    with atomic_folder(tmp_path / "folder") as temporary:
        (temporary / "before").touch()
    with pytest.raises(error), atomic_folder(tmp_path / "folder") as temporary:  # noqa: PT012
        (temporary / "half").touch()
        raise error
    assert names(tmp_path / "folder") == ["before"]
    assert names(tmp_path) == ["folder"]


def test_a_folder_takes_the_place_of_an_older_one_whole(tmp_path):
    for name in ("old", "new"):
        with atomic_folder(tmp_path / "folder") as temporary:
            (temporary / name).touch()
    assert names(tmp_path / "folder") == ["new"]


def test_a_file_that_is_replaced_is_not_written_to_so_that_a_linked_copy_stays(tmp_path):
    write_text(tmp_path / "file", "before")
    os.link(tmp_path / "file", tmp_path / "copy")
    write_text(tmp_path / "file", "after")
    assert (tmp_path / "copy").read_text() == "before"


@pytest.mark.parametrize("opened", [atomic, atomic_folder])
def test_a_failure_of_the_disk_is_told_with_path_and_remedy(tmp_path, opened):
    path = tmp_path / "name"
    with pytest.raises(StoreWriteError) as refused, opened(path):
        raise OSError(28, "No space left on device")
    assert str(refused.value) == (
        f"{path} must be written, got: No space left on device. Nothing that was finished is lost: make room or make "
        "the folder writable, then give the same command again."
    )
    assert names(tmp_path) == []


def test_a_file_in_the_way_of_a_folder_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreWriteError, match=r"file/inner must be written, got: Not a directory"):
        make_folder(tmp_path / "file" / "inner")


def test_the_file_that_could_not_be_written_is_named_and_no_other(tmp_path):
    outer, inner = writing(tmp_path / "outer"), writing(tmp_path / "inner")
    with pytest.raises(StoreWriteError, match=r"inner must be written, got: full\. Nothing"), outer, inner:
        raise OSError("full")


def test_what_a_killed_process_left_is_swept_and_nothing_else(tmp_path):
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / ".part-00000.parquet.123.tmp").touch()
    (tmp_path / ".policy.123.tmp").mkdir()
    (tmp_path / ".policy.123.tmp" / "weights").touch()
    (tmp_path / "table" / "part-00000.parquet").touch()
    sweep(tmp_path)
    assert names(tmp_path) == ["table"]
    assert names(tmp_path / "table") == ["part-00000.parquet"]


def test_a_seal_tells_an_edit(tmp_path):
    path = tmp_path / "file"
    write_sealed(path, {"rows": 3, "name": "ä"})
    assert read_sealed(path) == {"rows": 3, "name": "ä"}
    path.write_text(path.read_text().replace("3", "4"))
    assert read_sealed(path) is None


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"rows": 3}', b"\xff\xfe", b"null", b"{"])
def test_what_bears_no_seal_is_not_as_it_was_written(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    assert read_sealed(tmp_path / "file") is None
    assert read_sealed(tmp_path / "nothing") is None


def test_the_digest_of_a_value_does_not_hang_on_the_order_of_its_keys(tmp_path):
    assert value_digest({"a": 1, "b": [2.5, None]}) == value_digest({"b": [2.5, None], "a": 1})
    assert value_digest({"a": 1}) != value_digest({"a": 2})
    write_json(tmp_path / "file", {"b": 1, "a": 2})
    assert (tmp_path / "file").read_text() == '{\n "b": 1,\n "a": 2\n}\n'
