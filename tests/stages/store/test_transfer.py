import os
import shutil

import pytest
from damage import bring_to_the_end, edit, flip, linked_copy, numbers, replace
from tiny import tables, tiny_params

from stages.disk.files import StoreWriteError
from stages.integrity.verify import verify
from stages.store.adopted import is_foreign
from stages.store.retention import prune
from stages.store.run import Run, is_run, stored_runs
from stages.store.transfer import adopt, link_out


@pytest.fixture
def exported(whole, tmp_path):
    """A run outside the store, as `dvc pull` brings it."""
    return Run(linked_copy(whole.path, tmp_path / "outside"))


def inodes(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]
    return {str(path.relative_to(folder)): path.stat().st_ino for path in files}


def test_an_exported_run_shares_its_files_with_the_store(linked, tmp_path):
    run = linked[0]
    link_out(run, tmp_path / "out" / "run", 99)
    assert inodes(tmp_path / "out/run") == inodes(run.path)
    assert not (tmp_path / "out/run/lock").exists()
    assert verify(Run(tmp_path / "out/run")) == []


def test_an_export_of_fewer_rounds_is_the_run_as_it_was_then(linked, tmp_path):
    run = linked[0]
    link_out(run, tmp_path / "out", 1)
    copy = Run(tmp_path / "out")
    assert (copy.num_finished, verify(copy)) == (1, [])
    assert tables(copy.path).items() <= tables(run.path).items()
    assert not copy.round_folder(1).exists()
    assert run.num_finished == 3


def test_an_exported_run_stays_when_the_store_continues(linked, tmp_path):
    run, _, executor = linked
    link_out(run, tmp_path / "out", 99)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    bring_to_the_end(run, tiny_params("run.rounds=4", "retention.rounds=1"), executor)
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_an_export_takes_the_place_of_an_older_one_whole(linked, tmp_path):
    run = linked[0]
    link_out(run, tmp_path / "out", 99)
    (tmp_path / "out" / "rounds" / "stale").touch()
    prune(run, tiny_params("retention.rounds=1"))
    link_out(run, tmp_path / "out", 99)
    assert inodes(tmp_path / "out") == inodes(run.path)


@pytest.mark.long
def test_a_run_comes_back_into_an_empty_store_and_continues(exported, made_once, store):
    assert stored_runs() == []
    run = adopt(exported)
    assert run.path == store / "runs" / exported.key
    assert verify(run) == []
    assert run.num_finished == 3
    executor = made_once()[2]
    first = inodes(run.path)["rounds/0002/update.json"]
    bring_to_the_end(run, tiny_params("run.rounds=5", "retention.rounds=null"), executor)
    assert inodes(run.path)["rounds/0002/update.json"] == first  # nothing was run again
    assert numbers(run) == numbers(made_once("run.rounds=5")[0])
    assert numbers(exported) == numbers(run)[:3]


def test_a_run_is_never_taken_back(exported, made_once, store):
    longer = made_once("run.rounds=5")[0]
    run = Run(linked_copy(longer.path, store / "runs" / longer.key))
    before = inodes(run.path)
    assert adopt(exported) == run
    assert inodes(run.path) == before
    (run.path / "run.json").unlink()  # nor one whose run.json is lost
    assert adopt(exported).num_finished == 5
    assert verify(run) == []


def test_a_run_of_the_store_that_is_behind_takes_up_what_the_copy_has_more(made_once, tmp_path, store):
    start, longer = made_once()[0], made_once("run.rounds=5")[0]
    run = Run(linked_copy(start.path, store / "runs" / start.key))
    adopt(Run(linked_copy(longer.path, tmp_path / "outside")))
    assert run.num_finished == 5
    assert verify(run) == []
    assert tables(longer.path).items() <= tables(run.path).items()


def test_a_store_whose_head_is_damaged_is_mended_from_the_copy(exported, linked):
    run = linked[0]
    replace(run.path / "HEAD", b"\xff")
    assert adopt(exported).num_finished == 3
    assert verify(run) == []


def test_damage_of_the_copy_is_found_in_the_store(exported):
    flip(exported.path / "rounds/0001/rewards/part-00000.parquet")
    (damage,) = verify(adopt(exported))
    assert damage.path.name == "part-00000.parquet"


def test_a_damaged_run_json_makes_no_run(exported):
    flip(exported.path / "run.json")
    assert not is_run(exported.path)
    with pytest.raises(ValueError, match=r"run\.json must be as it was written, got a damaged or edited file"):
        adopt(exported)


def test_an_export_into_the_place_of_a_file_is_refused_with_path_and_remedy(linked, tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(StoreWriteError, match=r"out/run must be written, got: Not a directory.*then run the same"):
        link_out(linked[0], tmp_path / "out" / "run", 99)
    assert os.path.getsize(tmp_path / "out") == 0


def everything(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("key", ["../../victim", "0" * 16, "F" * 16])
def test_a_key_that_is_not_that_of_the_fingerprint_is_refused_and_the_store_stays_as_it_is(exported, store, key):
    edit(exported.path / "run.json", lambda about: about.update(key=key))
    with pytest.raises(ValueError, match=r"run\.json must (be as it was written|have the key of its fingerprint)"):
        adopt(exported)
    assert not store.exists()


@pytest.mark.parametrize(
    "name", [".config/autostart/x.desktop", "rounds/0000/rewards/x.py", "rounds/../x", "adopted", "lock", "mlflow.db"]
)
def test_files_that_no_run_has_are_left_where_they_are(exported, store, name):
    path = exported.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("strange")
    run = adopt(exported)
    assert "strange" not in [path.read_text(errors="replace") for path in store.rglob("*") if path.is_file()]
    assert verify(run) == []


@pytest.mark.parametrize("place", ["rounds/0000/rewards/part-00000.parquet", "prompts", "x"])
def test_a_folder_with_links_is_refused_and_the_store_stays_as_it_is(exported, store, tmp_path, place):
    path = exported.path / place
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.symlink_to(tmp_path)
    with pytest.raises(ValueError, match=f"got a link or a special file, {path}"):
        adopt(exported)
    assert not store.exists()


def test_a_run_that_cannot_be_adopted_whole_is_not_adopted(exported, store, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Run, "finish_round", full)
    with pytest.raises(StoreWriteError, match="No space left on device"):
        adopt(exported)
    assert everything(store / "runs") == []
    assert stored_runs() == []


def test_a_run_whose_parameters_come_from_the_folder_is_marked_as_adopted_and_another_is_not(exported, linked, store):
    assert not is_foreign(linked[0].path)
    (linked[0].path / "HEAD").unlink()
    adopt(exported)
    assert not is_foreign(linked[0].path)
    shutil.rmtree(linked[0].path)
    assert is_foreign(adopt(exported).path)
