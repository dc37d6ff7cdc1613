import os

import pytest

from stages.contract.declared_stages import STAGES
from stages.disk.files import StoreWriteError
from stages.integrity.damage import Damage
from stages.integrity.hardlinks import drop_aside, mending_shared, set_aside

SCORE = STAGES["score"]


def shared(folder, name="part-00000.parquet", stage=SCORE):
    """Damage of a protected file that has another name."""
    path = folder / name
    path.write_text("damaged")
    os.link(path, folder / "cached")
    path.chmod(0o444)
    return Damage(path, "damaged", stage, 0)


def mend(path):
    path.unlink()
    path.write_text("whole again")


def test_the_other_name_of_a_file_that_is_made_again_gets_its_bytes_and_stays_protected(tmp_path):
    damage, cached = shared(tmp_path), tmp_path / "cached"
    inode = cached.stat().st_ino
    with mending_shared([damage]):
        mend(damage.path)
        assert cached.read_text() == "damaged"
    assert cached.read_text() == "whole again"
    assert (cached.stat().st_ino, cached.stat().st_mode & 0o777) == (inode, 0o444)


def test_a_block_that_fails_leaves_the_other_name_as_it_was(tmp_path):
    damage = shared(tmp_path)
    with pytest.raises(ZeroDivisionError), mending_shared([damage]):  # noqa: PT012
        mend(damage.path)
        raise ZeroDivisionError
    assert (tmp_path / "cached").read_text() == "damaged"
    assert (tmp_path / "cached").stat().st_mode & 0o777 == 0o444


def test_a_file_that_was_only_removed_leaves_its_other_name(tmp_path):
    damage = shared(tmp_path)
    with mending_shared([damage]):
        damage.path.unlink()
    assert (tmp_path / "cached").read_text() == "damaged"


@pytest.mark.parametrize(("name", "stage"), [("score.json", SCORE), ("part-00000.parquet", None)])
def test_what_does_not_come_out_with_the_same_bytes_is_not_written_to(tmp_path, name, stage):
    damage = shared(tmp_path, name, stage)
    with mending_shared([damage]):
        mend(damage.path)
    assert (tmp_path / "cached").read_text() == "damaged"


def test_a_file_without_another_name_is_not_opened(tmp_path):
    (tmp_path / "alone.parquet").write_text("damaged")
    mode = (tmp_path / "alone.parquet").stat().st_mode
    with mending_shared([Damage(tmp_path / name, "", SCORE, 0) for name in ("alone.parquet", "gone.parquet")]):
        assert (tmp_path / "alone.parquet").stat().st_mode == mode
    assert (tmp_path / "alone.parquet").read_text() == "damaged"


def test_a_shared_file_that_cannot_be_opened_is_told_with_path_and_remedy(tmp_path, monkeypatch):
    damage = shared(tmp_path)

    def refused(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "open", refused)
    told = r"part-00000\.parquet must be written, got: Operation not permitted"
    with pytest.raises(StoreWriteError, match=told), mending_shared([damage]):
        pass


def test_a_file_that_is_set_aside_is_not_found_by_its_name_and_its_other_name_is_mended_all_the_same(tmp_path):
    damage, cached = shared(tmp_path), tmp_path / "cached"
    set_aside(damage.path)
    assert not damage.path.exists()
    with mending_shared([damage]):
        damage.path.write_text("whole again")
    assert cached.read_text() == "whole again"
    set_aside(tmp_path / "gone")  # as nothing is there


def test_what_was_set_aside_is_removed_but_for_what_is_kept(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).write_text(name)
        set_aside(tmp_path / name)
    drop_aside(tmp_path, keep=[tmp_path / "one"])
    assert [path.read_text() for path in tmp_path.iterdir()] == ["one"]
    drop_aside(tmp_path)
    assert list(tmp_path.iterdir()) == []
