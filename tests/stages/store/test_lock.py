import errno
import fcntl
import os
import socket
import subprocess
import sys

import pytest
from tiny import ROOT

from stages.disk.files import StoreWriteError
from stages.store.lock import Holder, NoLocksError, held_by, last_holder, locked


def test_a_run_is_held_within_the_block_and_by_nobody_after_it(tmp_path):
    me = Holder(os.getpid(), socket.gethostname())
    assert (held_by(tmp_path), last_holder(tmp_path)) == (None, None)
    with locked(tmp_path):
        assert held_by(tmp_path) == me
    assert (held_by(tmp_path), last_holder(tmp_path)) == (None, me)


def test_a_run_that_is_held_is_refused_with_its_holder(tmp_path):
    (tmp_path / "3fa9").mkdir()
    with locked(tmp_path / "3fa9"):
        with pytest.raises(ValueError) as refused, locked(tmp_path / "3fa9"):
            pass
        assert str(refused.value) == (
            f"Run 3fa9 must be free, it is held by process {os.getpid()} of {socket.gethostname()}. "
            "Wait for that process, or stop it."
        )
        (tmp_path / "3fa9" / "lock").write_text("")  # as before the holder has written its name
        with pytest.raises(ValueError, match="held by another process. Wait"), locked(tmp_path / "3fa9"):
            pass


def test_a_second_process_is_refused_with_the_id_of_the_first_whose_lock_dies_with_it(tmp_path):
    hold = (
        "import sys, time; from pathlib import Path; from stages.store.lock import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"
    )
    words = [sys.executable, "-c", hold, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=ROOT) as holder:
        assert holder.stdout.readline() == b"held\n"
        message = f"held by process {holder.pid} of {socket.gethostname()}. Wait"
        with pytest.raises(ValueError, match=message), locked(tmp_path):
            pass
        holder.kill()
    with locked(tmp_path):
        pass


def test_a_lock_with_another_text_names_nobody(tmp_path):
    for text in ("-1\nhere\n", "x\nhere\n", "7\n", "7\nhere\nmore\n"):
        (tmp_path / "lock").write_text(text)
        assert last_holder(tmp_path) is None


def test_a_block_that_fails_lets_the_run_go(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    assert held_by(tmp_path) is None


def test_what_a_killed_holder_left_half_written_is_removed_once_the_run_is_held(tmp_path):
    half = tmp_path / "rounds" / ".part-00000.parquet.1.tmp"
    half.parent.mkdir()
    half.touch()
    with locked(tmp_path):
        assert not half.exists()


def test_a_lock_that_does_not_say_names_nobody(tmp_path):
    (tmp_path / "lock").write_text("123\n")
    assert last_holder(tmp_path) is None
    for odd in ("0\nhere\n", "-5\nhere\n", "\u0663\nhere\n", "9" * 99 + "\nhere\n", "here 1\n"):
        (tmp_path / "lock").write_text(odd, encoding="utf-8")
        assert last_holder(tmp_path) is None
    (tmp_path / "lock").write_text("123\nhere\n")
    assert str(last_holder(tmp_path)) == "process 123 of here"


def test_a_folder_that_does_not_exist_cannot_be_held(tmp_path):
    with (
        pytest.raises(StoreWriteError, match=r"none/lock must be written, got: No such file"),
        locked(tmp_path / "none"),
    ):
        pass


def test_a_lock_names_its_last_holder_alone(tmp_path):
    (tmp_path / "lock").write_text("123456\nanother-machine\n")
    with locked(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n{socket.gethostname()}\n"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_refused_with_what_helps(tmp_path, monkeypatch, number):
    """As NFS without lockd and Lustre without the option flock answer; no such file system can be mounted here."""

    def refused(*_):
        raise OSError(number, os.strerror(number))

    (tmp_path / "lock").touch()
    monkeypatch.setattr(fcntl, "flock", refused)
    told = rf"A file system with locks \(flock\) is required for .*lock, got: {os.strerror(number)}\. .*G2RPO_HOME\."
    with pytest.raises(NoLocksError, match=told), locked(tmp_path):
        pass
    with pytest.raises(NoLocksError, match=told):
        held_by(tmp_path)
