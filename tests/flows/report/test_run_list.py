"""The list of runs, of runs whose numbers are written by hand."""

import os
import socket

import pytest
from damage import edit, replace
from handmade import begun, finish, judge

from flows.report.run_list import listed
from stages.integrity.damage import Damage, mark
from stages.store.lock import locked

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
        edit(run.path / "run.json", lambda about, when=when: about.update(created_at=when, parent={"key": "0123"}))
    assert [row["key"] for row in listed()] == [runs[1].key, runs[0].key, runs[2].key]
    assert {row["parent"] for row in listed()} == {"0123"}


def test_a_damaged_run_is_listed_last_with_what_is_wrong_and_hides_no_other():
    (whole, _), (damaged, _) = begun(), begun("run.seed=1")
    replace(damaged.path / "run.json", b"{")
    first, last = listed()
    assert (first["key"], last["key"]) == (whole.key, damaged.path.name)
    assert last["state"].startswith(f"damaged: {damaged.path / 'run.json'} must be as it was written")
    assert "\n" not in last["state"]
