from damage import flip, replace
from tiny import tiny_params

from stages.contract.declared_stages import STAGES
from stages.disk.files import file_digest
from stages.disk.tables import shard_path
from stages.engine.execute import run_stage
from stages.integrity.verify import verify
from stages.store.retention import prune
from stages.store.run import Run


def paths(found):
    return [damage.path for damage in found]


def everything(run):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.path.rglob("*") if path.is_file()}


def test_a_run_as_it_was_written_is_whole_and_verifying_changes_nothing(copied):
    run = copied[0]
    before = everything(run)
    assert verify(run) == []
    assert everything(run) == before


def test_what_is_damaged_is_told_by_what_is_required_and_what_is_there(copied):
    run = copied[0]
    shard, manifest = run.round_folder(0) / "rewards/part-00000.parquet", run.round_folder(2) / "update.json"
    digests = [file_digest(shard)[:12]]
    flip(shard)
    digests.append(file_digest(shard)[:12])
    manifest.unlink()
    assert [str(damage) for damage in verify(run)] == [
        f"{manifest}: a finished round must have this manifest, got none",
        f"{shard}: the file of digest {digests[0]}… is required, got one of {digests[1]}… with 2555 bytes",
    ]
    replace(run.path / "HEAD", b"some")
    (head,) = verify(run)
    assert str(head) == f"{run.path / 'HEAD'}: a number of finished rounds from 2 to 3 is required, got b'some'"


def test_parameters_that_were_edited_are_told_by_name(copied):
    run = copied[0]
    path = run.path / "params.yaml"
    replace(path, path.read_bytes().replace(b"eta: 0.7", b"eta: 0.8").replace(b"seed: 0", b"seed: 1"))
    (damage,) = verify(run)
    assert damage.what == "the parameters of the run are required, got others in rollout.eta, run.seed"


def test_parameters_that_change_no_number_may_be_others(copied):
    run = copied[0]
    other = tiny_params("run.rounds=9", "evaluate.every=2", "evaluate.num_prompts=3", "retention.rounds=1")
    run.remember(other)
    assert verify(run) == []


def test_the_unfinished_round_is_held_to_its_finished_stages(copied):
    run, params, resources = copied
    for name in ("prompts", "rollout"):
        run_stage(run, STAGES[name], 3, params, resources)
    run_stage(run, STAGES["complete"], 3, params, resources, shards=[0])
    assert verify(run) == []
    whole, half = (shard_path(run.round_folder(3) / name, 0) for name in ("transitions", "completions"))
    flip(whole)
    flip(half)  # no manifest names it yet; its pages carry checksums
    assert paths(verify(run)) == [half, whole]


def test_of_a_pruned_policy_its_state_is_still_required(copied):
    run = copied[0]
    prune(run, tiny_params("retention.rounds=1", "evaluate.every=2"))
    state = run.policy_folder(1) / "state.json"
    assert [path.name for path in state.parent.iterdir()] == ["state.json"]
    assert verify(run) == []
    state.unlink()
    assert paths(verify(run)) == [state]


def test_a_tombstone_that_is_damaged_lets_nothing_go(copied):
    run = copied[0]
    prune(run, tiny_params("retention.rounds=2"))
    tombstone = run.round_folder(0) / "pruned.json"
    flip(tombstone)
    found = paths(verify(run))
    assert tombstone in found
    assert run.round_folder(0) / "anchors/part-00000.parquet" in found


def test_a_run_in_the_folder_of_another_is_told(copied, tmp_path):
    run = copied[0]
    moved = run.path.rename(run.path.with_name("0" * 16))
    (damage,) = verify(Run(moved))
    assert damage.what == f"the run in folder {'0' * 16} must have that key, got {run.path.name}: of another run"
    assert verify(Run(moved.rename(tmp_path / "copy"))) == []  # outside the store it may lie anywhere
