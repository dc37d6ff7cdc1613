import os
import re
import secrets
import subprocess
import sys

import pytest
from tiny import ROOT

from stages.disk.files import (
    FileState,
    StoreWriteError,
    atomic,
    atomic_folder,
    file_digest,
    link_or_copy,
    make_folder,
    read_json,
    read_sealed,
    sweep,
    value_digest,
    write_json,
    write_sealed,
    write_text,
    writer_of,
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
def test_a_failure_of_the_disk_is_reported_with_path_and_remedy(tmp_path, opened):
    path = tmp_path / "name"
    with pytest.raises(StoreWriteError) as refused, opened(path):
        raise OSError(28, "No space left on device")
    assert str(refused.value) == (
        f"{path} must be written, got: No space left on device. Finished work is not lost: free some space or "
        "make the folder writable, then run the same command again."
    )
    assert names(tmp_path) == []


def test_a_file_in_the_way_of_a_folder_is_reported(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreWriteError, match=r"file/inner must be written, got: Not a directory"):
        make_folder(tmp_path / "file" / "inner")


def test_the_file_that_could_not_be_written_is_named_and_no_other(tmp_path):
    outer, inner = writing(tmp_path / "outer"), writing(tmp_path / "inner")
    with pytest.raises(StoreWriteError, match=r"inner must be written, got: full\. Finished"), outer, inner:
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


def test_a_file_gets_another_name_in_a_folder_that_is_made_and_a_copy_where_there_are_no_links(tmp_path, monkeypatch):
    write_text(tmp_path / "file", "content")
    link_or_copy(tmp_path / "file", tmp_path / "deep" / "linked")
    assert (tmp_path / "deep" / "linked").samefile(tmp_path / "file")

    def refused(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refused)
    link_or_copy(tmp_path / "file", tmp_path / "copied")
    assert (tmp_path / "copied").read_text() == "content"
    assert not (tmp_path / "copied").samefile(tmp_path / "file")


def test_a_folder_is_made_with_those_above_it_and_may_be_there(tmp_path):
    for _ in range(2):
        make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_the_digest_of_a_file_is_the_sha_256_of_its_bytes(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_digest(tmp_path / "file") == digest
    assert value_digest("abc") == "6cc43f858fbb763301637b5af970e2a46b46f461f27e5a0f41e009c59b827b25"  # of "abc" quoted


def test_a_file_that_is_replaced_has_another_state(tmp_path):
    path = tmp_path / "file"
    write_text(path, "before")
    state = FileState.of(path)
    assert state == FileState.of(path)
    assert (state.path, state.size, state.inode) == (path, 6, path.stat().st_ino)
    write_text(path, "after.")
    assert FileState.of(path) != state


def test_a_value_comes_back_from_json(tmp_path):
    write_json(tmp_path / "file", {"name": "ä", "rows": [1, 2.5, None]})
    assert read_json(tmp_path / "file") == {"name": "ä", "rows": [1, 2.5, None]}


def test_what_is_written_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.readlink(f"/proc/self/fd/{handle}")))
    with atomic(tmp_path / "file") as temporary:
        temporary.touch()
    assert synced == [str(temporary), str(tmp_path)]
    synced.clear()
    with atomic_folder(tmp_path / "folder") as temporary:
        (temporary / "inner").touch()
    assert synced == [str(temporary / "inner"), str(temporary), str(tmp_path)]


@pytest.mark.parametrize("number", [22, 95])  # EINVAL, ENOTSUP
def test_a_file_system_that_cannot_sync_folders_will_do_and_one_that_cannot_sync_files_not(
    tmp_path, monkeypatch, number
):
    def refused(handle):
        if os.path.isdir(f"/proc/self/fd/{handle}") or broken:
            raise OSError(number, "cannot")

    monkeypatch.setattr(os, "fsync", refused)
    broken = False
    write_text(tmp_path / "file", "whole")
    broken = True
    with pytest.raises(StoreWriteError, match="file must be written, got: cannot"):
        write_text(tmp_path / "file", "other")
    assert (tmp_path / "file").read_text() == "whole"


def test_two_processes_have_temporary_names_of_their_own_that_nobody_foresees(tmp_path):
    seen = []
    for _ in range(2):
        with atomic(tmp_path / "file") as temporary:
            seen.append(temporary.name)
            assert writer_of(temporary) == os.getpid()
        with atomic_folder(tmp_path / "folder") as temporary:
            seen.append(temporary.name)
            assert writer_of(temporary) == os.getpid()
    assert len(set(seen)) == 4
    assert all(re.fullmatch(rf"\.(file|folder)\.{os.getpid()}-[0-9a-f]{{16}}\.tmp", name) for name in seen)
    assert [writer_of(tmp_path / name) for name in (".file.tmp", ".file.12.tmp", "file")] == [None, 12, None]


def test_a_link_in_the_place_of_a_temporary_file_is_not_written_through(tmp_path, monkeypatch):
    """A name that was guessed all the same: the file behind it stays as it is."""
    (tmp_path / "victim").write_text("precious")
    monkeypatch.setattr(secrets, "token_hex", lambda size: "0" * 2 * size)
    (tmp_path / f".file.{os.getpid()}-{'0' * 16}.tmp").symlink_to(tmp_path / "victim")
    with pytest.raises(StoreWriteError, match="file must be written, got: File exists"):
        write_text(tmp_path / "file", "content")
    assert (tmp_path / "victim").read_text() == "precious"


@pytest.mark.parametrize(("mask", "file_mode", "folder_mode"), [(0o022, 0o644, 0o755), (0o007, 0o660, 0o770)])
def test_files_and_folders_get_the_mode_of_the_umask_whoever_writes_them(tmp_path, mask, file_mode, folder_mode):
    before = os.umask(mask)
    try:
        with atomic(tmp_path / "file") as temporary:
            temporary.unlink()
            os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))  # as safetensors does
        (tmp_path / "shared").touch(0o444)
        with atomic_folder(tmp_path / "folder") as temporary:
            os.close(os.open(temporary / "weights", os.O_CREAT | os.O_WRONLY, 0o600))
            os.link(tmp_path / "shared", temporary / "shared")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == file_mode
    assert (tmp_path / "folder").stat().st_mode & 0o777 == folder_mode
    assert (tmp_path / "folder/weights").stat().st_mode & 0o777 == file_mode
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o444 & ~mask  # of a file with another name


def test_a_link_that_looks_half_written_is_swept_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").touch()
    (tmp_path / "run" / ".policy.1-00.tmp").symlink_to(tmp_path / "elsewhere")
    sweep(tmp_path / "run")
    assert names(tmp_path / "run") == []
    assert names(tmp_path / "elsewhere") == ["kept"]
    (tmp_path / "run" / ".policy.1-00.tmp").symlink_to(tmp_path / "elsewhere")
    with atomic_folder(tmp_path / "run" / "policy"):
        pass
    assert names(tmp_path / "run") == ["policy"]
    assert names(tmp_path / "elsewhere") == ["kept"]


@pytest.mark.parametrize("content", ["[" * 100_000, '{"seal": "\\ud800"}', '{"a": "\\ud800", "seal": "0"}'])
def test_json_that_no_program_of_ours_writes_bears_no_seal(tmp_path, content):
    (tmp_path / "file").write_text(content)
    assert read_sealed(tmp_path / "file") is None


def test_text_is_utf_8_whatever_the_locale(tmp_path):
    program = (
        "import sys; from pathlib import Path; from stages.disk.files import read_json, write_json\n"
        "path = Path(sys.argv[1]); write_json(path, '\\u73ab\\u7470'); assert read_json(path) == '\\u73ab\\u7470'"
    )
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program, tmp_path / "file"], check=True, env=environment)
    assert read_json(tmp_path / "file") == "\u73ab\u7470"


def test_a_file_of_that_name_is_replaced_and_its_bytes_stay_under_its_other_names(tmp_path, monkeypatch):
    for name in ("linked", "copied"):
        (tmp_path / name).write_text("before")
        os.link(tmp_path / name, tmp_path / f"{name} elsewhere")
    (tmp_path / "new").write_text("after")
    link_or_copy(tmp_path / "new", tmp_path / "linked")
    link_or_copy(tmp_path / "new", tmp_path / "linked")  # it is that file already
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    link_or_copy(tmp_path / "new", tmp_path / "copied")
    for name in ("linked", "copied"):
        assert (tmp_path / name).read_text() == "after"
        assert (tmp_path / f"{name} elsewhere").read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 5


def test_json_of_any_size_is_refused_before_it_fills_the_memory(tmp_path):
    with (tmp_path / "file").open("wb") as file:
        file.truncate(10**11)  # a sparse file
    with pytest.raises(ValueError, match="must be JSON of ours, got more than 33,554,432 bytes"):
        read_json(tmp_path / "file")
