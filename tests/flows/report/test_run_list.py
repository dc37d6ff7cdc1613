"""The list of runs, of runs whose numbers are written by hand."""

import errno
import fcntl
import os
import shutil
import socket

import pytest
from damage import edit, replace
from handmade import begun, finish, first_value, forge, judge, without

from flows.report.run_list import listed
from stages.integrity.damage import Damage, mark
from stages.store.lock import locked

PARENT = {"key": "0123" * 4, "round": 1, "reason": "kl", "generation": 1}

pytestmark = pytest.mark.usefixtures("own_store")


def test_a_row_says_what_a_run_is_how_far_it_has_got_and_what_it_has_come_to():
    run, params = begun("run.seed=7")
    for number, mean in enumerate((0.25, 0.75, 0.5)):
        judge(run, params, number, rule_soft=[mean])
        if number < 2:
            finish(run, {"reward/judge_a/mean": 0.5 + 0.125 * number})
    (row,) = listed()
    size = row.pop("bytes")
    assert row == {
        "key": run.key,
        "method": "G²RPO",
        "family": "shapes",
        "seed": 7,
        "rounds": 2,
        "of": 2,
        "state": "finished",
        "rewards": {"judge_a": 0.625},
        "best_round": 1,
        "best": 0.75,
        "choose_by": "rule_soft",
        "parent": None,
        "created_at": run.about["created_at"],
    }
    (run.path / "more").write_bytes(b"x" * 1000)
    assert listed()[0]["bytes"] == size + 1000


def test_a_run_that_has_not_begun_has_no_rewards_and_no_best():
    begun()
    (row,) = listed()
    assert (row["rounds"], row["state"], row["rewards"], row["best_round"], row["best"]) == (0, "stopped", {}, 0, None)


def test_a_run_that_a_process_holds_is_listed_with_its_holder():
    run, _ = begun()
    with locked(run.path):
        assert listed()[0]["state"] == f"runs, process {os.getpid()} of {socket.gethostname()}"
    assert listed()[0]["state"] == "stopped"


def test_a_run_that_goes_on_with_damage_says_so():
    run, _ = begun()
    mark(run, [Damage(run.path / "rounds/0000/score.json", "gone")])
    assert listed()[0]["state"] == "stopped, 1 damaged"
    with locked(run.path):
        assert listed()[0]["state"].endswith(f"of {socket.gethostname()}, 1 damaged")


def test_the_newest_comes_first_and_a_run_that_went_on_from_another_names_it():
    runs = [begun(f"run.seed={seed}")[0] for seed in range(3)]
    for run, when in zip(runs, (20.0, 30.0, 10.0), strict=True):
        edit(run.path / "run.json", lambda about, when=when: about.update(created_at=when, parent=PARENT))
    assert [row["key"] for row in listed()] == [runs[1].key, runs[0].key, runs[2].key]
    assert {row["parent"] for row in listed()} == {PARENT["key"]}


def test_a_damaged_run_is_listed_last_with_what_is_wrong_and_hides_no_other():
    (whole, _), (damaged, _) = begun(), begun("run.seed=1")
    replace(damaged.path / "run.json", b"{")
    first, last = listed()
    assert (first["key"], last["key"]) == (whole.key, damaged.path.name)
    assert last["state"].startswith(f"cannot be read: {damaged.path / 'run.json'} must be as it was written")
    assert "\n" not in last["state"]


@pytest.mark.parametrize("odd", ["run.json", "HEAD", "params.yaml", "rounds"])
def test_a_run_that_cannot_be_read_says_so_and_ends_the_list_for_no_other(odd):
    (whole, _), (other, _) = begun(), begun("run.seed=1")
    path = other.path / odd
    path.unlink(missing_ok=True)
    path.symlink_to(path)
    first, last = listed()
    assert (first["key"], last["key"]) == (whole.key, other.path.name)
    assert last["state"].startswith("cannot be read: ")


@pytest.mark.parametrize("change", [without("rule_soft"), first_value(float("inf"))])
def test_a_run_whose_evaluation_is_forged_is_listed_as_damaged_and_hides_no_other(change):
    (whole, _), (other, params) = begun(), begun("run.seed=1")
    forge(judge(other, params, 0), "evaluations", change)
    first, last = listed()
    assert (first["key"], last["key"]) == (whole.key, other.path.name)
    assert "0000-tuning must be an evaluation as it was written" in last["state"]


def test_what_is_no_run_is_not_listed(own_store):
    run, _ = begun()
    (own_store / "runs" / "notes.txt").touch()
    shutil.copytree(run.path, own_store / "runs" / f"{run.key}.bak")
    shutil.copytree(run.path, own_store / "runs" / f".{run.key}.1-00.tmp")
    assert [row["key"] for row in listed()] == [run.key]


def test_without_locks_nobody_can_tell_whether_a_run_is_held(monkeypatch):
    def refused(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    run, _ = begun()
    monkeypatch.setattr(fcntl, "flock", refused)
    (run.path / "lock").touch()
    assert listed()[0]["state"] == "stopped or runs (its file system has no locks)"
