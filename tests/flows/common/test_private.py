import os
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest

from flows.common.private import private_folder, read_private, write_private
from stages.disk.files import StoreWriteError


@pytest.fixture
def folder():
    """A folder that every user of the machine can enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def reads(path):
    """Whether another user can read a file; as an ordinary user this test cannot be another one, and asks the mode."""
    if os.geteuid() != 0:
        return bool(path.stat().st_mode & 0o004 and path.parent.stat().st_mode & 0o001)
    other = {"user": "nobody", "group": "nogroup", "extra_groups": []}
    done = subprocess.run(["cat", path], check=False, capture_output=True, **other)
    return done.returncode == 0


def test_what_is_written_is_read_again_and_by_no_other_user_whatever_the_umask(folder):
    (folder / "open").write_text("seen")
    (folder / "open").chmod(0o644)
    before = os.umask(0)
    try:
        write_private(folder / "login", "g2rpo:sécret\n")
    finally:
        os.umask(before)
    assert read_private(folder / "login") == "g2rpo:sécret\n"
    assert stat.S_IMODE((folder / "login").stat().st_mode) == 0o600
    assert reads(folder / "open")
    assert not reads(folder / "login")
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_a_private_folder_hides_also_what_is_readable_within(folder):
    inner = private_folder(folder / "a/services")
    (inner / "log").write_text("seen")
    (inner / "log").chmod(0o644)
    assert not reads(inner / "log")
    inner.chmod(0o755)  # as an earlier version has left it
    assert reads(inner / "log")
    assert private_folder(inner) == inner
    assert not reads(inner / "log")


def test_a_file_that_another_user_has_planted_replaced_or_could_read_is_refused(folder):
    path = folder / "login"
    assert read_private(path) is None
    path.write_text("g2rpo:planted")
    path.chmod(0o640)
    with pytest.raises(ValueError, match=r"login must be a file of yours .*, got: mode 0640 of user \d+\. .*remove it"):
        read_private(path)
    path.chmod(0o600)
    assert read_private(path) == "g2rpo:planted"
    (folder / "link").symlink_to(path)
    with pytest.raises(ValueError, match="link must be a file of yours"):
        read_private(folder / "link")


def test_a_write_over_a_link_replaces_the_link_and_one_that_fails_leaves_nothing(folder):
    victim = folder / "victim"
    victim.write_text("mine")
    (folder / "login").symlink_to(victim)
    write_private(folder / "login", "g2rpo:new")
    assert victim.read_text() == "mine"
    assert read_private(folder / "login") == "g2rpo:new"
    (folder / "taken").mkdir()
    with pytest.raises(StoreWriteError, match="taken must be written"):
        write_private(folder / "taken", "text")
    assert sorted(path.name for path in folder.iterdir()) == ["login", "taken", "victim"]
