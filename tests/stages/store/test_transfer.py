import os
from pathlib import Path

import pytest
from damage import bring_to_the_end, flip, linked_copy, numbers, replace
from tiny import tables, tiny_params

from stages.disk.files import StoreWriteError
from stages.integrity.verify import verify
from stages.store.retention import prune
from stages.store.run import Run, stored_runs
from stages.store.transfer import adopt, files_of, is_run, link_out, round_of


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


@pytest.mark.parametrize(
    ("file", "rounds"),
    [
        ("rounds/0007/rewards/part-00000.parquet", 8),
        ("metrics/0007.json", 8),
        ("evaluations/0007-tuning/evaluate.json", 7),
        ("base/state.json", 0),
        ("HEAD", 0),
    ],
)
def test_a_file_belongs_behind_the_rounds_that_have_made_it(file, rounds):
    assert round_of(Path(file)) == rounds


def test_the_files_of_a_run_are_all_but_its_lock_and_what_is_half_written_or_damaged(tmp_path):
    for folder in ("rounds", ".former/0002-update", ".a.tmp"):
        (tmp_path / folder).mkdir(parents=True)
    for name in (
        ".former/0002-update/update.json",
        ".a.tmp/HEAD",
        "lock",
        "rounds/b",
        "rounds/.a.1.tmp",
        "rounds/.b.damaged",
        "damaged.json",
        "run.json",
    ):
        (tmp_path / name).touch()
    assert list(files_of(tmp_path)) == [tmp_path / "rounds" / "b", tmp_path / "run.json"]
