import pytest
from damage import flip
from tiny import tables, tiny_params

from stages.integrity.go_back import go_back
from stages.integrity.verify import verify
from stages.store.manifest import pruned_outputs, tombstone_path
from stages.store.retention import prune
from stages.store.run import Run

pytestmark = pytest.mark.long


def rounds_of(run):
    return {path: content for path, content in tables(run.path).items() if path.startswith("rounds/")}


def test_later_rounds_keep_their_tables_and_lose_their_metrics_and_evaluations(linked, whole):
    run = linked[0]
    go_back(run, 1)
    assert (run.num_finished, [row["round"] for row in run.metrics()]) == (1, [1])
    assert not run.metrics_path(1).exists()
    assert run.evaluations() == [(0, "test"), (0, "tuning"), (1, "tuning")]
    assert rounds_of(run) == rounds_of(whole)
    assert verify(run) == []


def test_to_the_base_it_goes_too(linked):
    run = linked[0]
    go_back(run, 0)
    assert (run.num_finished, (run.path / "HEAD").read_text(), verify(run)) == (0, "0\n", [])


def test_what_a_round_was_trained_from_is_missing_and_no_longer_let_go(linked):
    run = linked[0]
    prune(run, tiny_params("run.rounds=3", "retention.rounds=1", "evaluate.every=99"))
    go_back(run, 1)
    assert [pruned_outputs(run.round_folder(number)) for number in range(3)] == [
        {"anchors", "transitions", "completions", "policy"},
        {"completions"},
        set(),
    ]
    there = {path.name for path in run.round_folder(1).glob("*.json")}
    assert there == {"prompts.json", "complete.json", "score.json", "integrate.json", "pruned.json"}


def test_a_damaged_tombstone_goes(linked):
    run = linked[0]
    prune(run, tiny_params("run.rounds=3", "retention.rounds=1", "evaluate.every=99"))
    flip(tombstone_path(run.round_folder(1)))
    go_back(run, 1)
    assert not tombstone_path(run.round_folder(1)).exists()


def test_killed_within_and_called_again_it_ends_the_same(linked, whole, monkeypatch):
    run = linked[0]
    prune(run, tiny_params("run.rounds=3", "retention.rounds=1", "evaluate.every=99"))

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Run, "finish_round", killed)
        with pytest.raises(KeyboardInterrupt):
            go_back(run, 1)
        patched.undo()
    assert run.num_finished == 3
    go_back(run, 1)
    assert run.num_finished == 1
    assert pruned_outputs(run.round_folder(1)) == {"completions"}
