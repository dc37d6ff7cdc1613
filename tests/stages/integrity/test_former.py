import os

import pytest
from damage import flip, lose
from tiny import tables

from stages.contract.declared_stages import STAGES
from stages.integrity.former import drop_former, keep_former, restore_former

pytestmark = pytest.mark.long
SCORE = STAGES["score"]


def contents(run):
    return {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file() and path.name != "lock"}


def test_kept_files_come_back_as_they_were_and_new_ones_go(linked):
    run = linked[0]
    folder = run.round_folder(1)
    before = contents(run)
    kept = keep_former(run, SCORE, 1)
    assert sorted(path.name for path in kept.iterdir()) == ["rewards", "score.json"]
    lose(folder / "score.json")
    flip(folder / "rewards/part-00000.parquet")
    (folder / "rewards/part-00009.parquet").touch()
    restore_former(run)
    assert contents(run) == before


def test_without_kept_files_nothing_changes(linked):
    run = linked[0]
    before = contents(run)
    restore_former(run)
    assert contents(run) == before


def test_files_that_are_kept_already_stay(linked):
    run = linked[0]
    before = contents(run)
    keep_former(run, SCORE, 1)
    flip(run.round_folder(1) / "rewards/part-00000.parquet")
    keep_former(run, SCORE, 1)
    restore_former(run)
    assert contents(run) == before


def test_what_a_stage_did_not_have_is_gone_again(linked):
    run = linked[0]
    path = run.round_folder(1) / "score.json"
    manifest = path.read_bytes()
    lose(path)
    keep_former(run, SCORE, 1)
    path.write_bytes(manifest)
    restore_former(run)
    assert not path.exists()


def test_dropped_files_do_not_come_back_and_others_do(linked):
    run = linked[0]
    before = tables(run.path)
    folder = run.round_folder(1)
    for name in ("score", "integrate"):
        keep_former(run, STAGES[name], 1)
        lose(folder / f"{name}.json")
    drop_former(run, SCORE, 1)
    restore_former(run)
    assert ((folder / "score.json").exists(), (folder / "integrate.json").exists()) == (False, True)
    assert tables(run.path) == before
    assert not (run.path / ".former").exists()


def test_half_kept_and_half_dropped_files_of_a_killed_process_do_not_come_back(linked):
    run = linked[0]
    before = contents(run)
    for name in (".0001-score.7.tmp", ".0001-score.tmp"):
        (run.path / ".former" / name / "rewards").mkdir(parents=True)
    drop_former(run, SCORE, int(keep_former(run, SCORE, 1).name[:4]))
    restore_former(run)
    assert contents(run) == before
    assert not (run.path / ".former").exists()


def test_kept_files_that_are_none_of_the_stage_are_not_put_anywhere(linked, tmp_path):
    run = linked[0]
    victim, folder = tmp_path / "victim", run.round_folder(1)
    victim.write_text("mine")
    os.link(victim, folder / "aaa")
    kept = keep_former(run, SCORE, 1)
    for name in ("aaa", "rollout.json", "completions/part-00000.parquet"):
        (kept / name).parent.mkdir(exist_ok=True)
        (kept / name).write_text("theirs")
    before = contents(run)
    restore_former(run)
    assert victim.read_text() == "mine"
    assert contents(run) == {path: content for path, content in before.items() if ".former" not in path.parts}
