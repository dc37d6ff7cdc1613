import pytest
from damage import edit, flip, replace
from tiny import tiny_params

from stages.contract.declared_stages import STAGES
from stages.disk.files import file_digest, write_json
from stages.disk.tables import shard_path
from stages.engine.execute import run_stage
from stages.integrity.verify import verify
from stages.store.retention import prune
from stages.store.run import Run


def paths(found):
    return [damage.path for damage in found]


def everything(run):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.path.rglob("*") if path.is_file()}


def test_a_run_as_it_was_written_is_whole_and_verifying_changes_nothing(linked):
    run = linked[0]
    before = everything(run)
    assert verify(run) == []
    assert everything(run) == before


def test_what_is_damaged_is_told_by_what_is_required_and_what_is_there(linked):
    run = linked[0]
    shard, manifest = run.round_folder(0) / "rewards/part-00000.parquet", run.round_folder(2) / "update.json"
    digests = [file_digest(shard)[:12]]
    flip(shard)
    digests.append(file_digest(shard)[:12])
    size = shard.stat().st_size
    manifest.unlink()
    assert [str(damage) for damage in verify(run)] == [
        f"{manifest}: a finished round must have this manifest, got none",
        f"{shard}: the file with digest {digests[0]}… is required, got one with {digests[1]}… and {size} bytes",
    ]
    replace(run.path / "HEAD", b"some")
    (head,) = verify(run)
    assert str(head) == f"{run.path / 'HEAD'}: a number of finished rounds from 2 to 3 is required, got b'some'"


def test_parameters_that_were_edited_are_told_by_name(linked):
    run = linked[0]
    path = run.path / "params.yaml"
    replace(path, path.read_bytes().replace(b"eta: 0.7", b"eta: 0.8").replace(b"seed: 0", b"seed: 1"))
    (damage,) = verify(run)
    assert damage.what == "the parameters of the run are required, got others in rollout.eta, run.seed"


def test_parameters_that_change_no_number_may_be_others(linked):
    run = linked[0]
    other = tiny_params("run.rounds=9", "evaluate.every=2", "evaluate.num_prompts=3", "retention.rounds=1")
    run.remember(other)
    assert verify(run) == []


def test_the_unfinished_round_is_held_to_its_finished_stages(linked):
    run, params, executor = linked
    for name in ("prompts", "rollout"):
        run_stage(run, STAGES[name], 3, params, executor)
    run_stage(run, STAGES["complete"], 3, params, executor, shards=[0])
    assert verify(run) == []
    whole, half = (shard_path(run.round_folder(3) / name, 0) for name in ("transitions", "completions"))
    flip(whole)
    replace(half, half.read_bytes().replace(b"p0", b"q0"))  # no manifest names it yet; its pages carry checksums
    assert paths(verify(run)) == [half, whole]


def test_of_a_pruned_policy_its_state_is_still_required(linked):
    run = linked[0]
    prune(run, tiny_params("retention.rounds=1", "evaluate.every=2"))
    state = run.policy_folder(1) / "state.json"
    assert [path.name for path in state.parent.iterdir()] == ["state.json"]
    assert verify(run) == []
    state.unlink()
    assert paths(verify(run)) == [state]


def test_a_tombstone_that_is_damaged_lets_nothing_go(linked):
    run = linked[0]
    prune(run, tiny_params("retention.rounds=2"))
    tombstone = run.round_folder(0) / "pruned.json"
    flip(tombstone)
    found = paths(verify(run))
    assert tombstone in found
    assert run.round_folder(0) / "anchors/part-00000.parquet" in found


def test_a_run_in_the_folder_of_another_is_told(linked, tmp_path):
    run = linked[0]
    moved = run.path.rename(run.path.with_name("0" * 16))
    (damage,) = verify(Run(moved))
    assert damage.what == f"the run in folder {'0' * 16} must have that key, got {run.path.name}: of another run"
    assert verify(Run(moved.rename(tmp_path / "copy"))) == []  # outside the store it may lie anywhere


OTHERS = "got one of another run, round or state"


def a_manifest(run, name, change):
    """Edit a manifest of round 1 as a forger who knows of seals, and return what verify says of the file."""
    path = run.round_folder(1) / f"{name}.json"
    edit(path, change)
    (damage,) = [damage for damage in verify(run) if damage.path == path]
    assert (damage.stage, damage.number) == (STAGES[name], 1)
    return damage.what


def test_a_manifest_that_was_made_from_other_tables_is_told_by_their_names(linked):
    told = a_manifest(linked[0], "score", lambda manifest: manifest["inputs"].update(completions="0", prompts="1"))
    assert told == f"the manifest must be made from this round's completions, prompts, {OTHERS}"


@pytest.mark.parametrize("change", [{"parameters": {}}, {"stamp": "0"}])
def test_a_manifest_of_other_parameters_or_of_another_round_is_told(linked, change):
    told = a_manifest(linked[0], "score", lambda manifest: manifest.update(change))
    assert told == "the manifest must be of this run's parameters and of this round, got one of another run or round"


def test_a_manifest_whose_digests_do_not_fit_each_other_is_told(linked):
    run = linked[0]
    path = run.round_folder(1) / "update.json"
    edit(path, lambda manifest: manifest["outputs"]["updates"].update(digest="0" * 64))
    assert [str(damage) for damage in verify(run)] == [
        f"{path}: the manifest must be as it was written, got one with inconsistent digests"
    ]


def test_origins_are_those_of_the_fingerprint(linked):
    told = a_manifest(linked[0], "score", lambda manifest: manifest["inputs"].update({"rewards/judge_a": "0"}))
    assert told == f"the manifest must be made from this round's rewards/judge_a, {OTHERS}"
    told = a_manifest(linked[0], "prompts", lambda manifest: manifest["inputs"].update({"prompts/train": "0"}))
    assert told == f"the manifest must be made from this round's prompts/train, {OTHERS}"


def test_a_manifest_that_was_made_from_another_policy_is_told(linked):
    told = a_manifest(linked[0], "rollout", lambda manifest: manifest["inputs"].update(behaviour_policy="0"))
    assert told == f"the manifest must be made from this round's behaviour_policy, {OTHERS}"


def test_a_file_too_many_in_a_table_is_told(linked):
    run = linked[0]
    path = run.round_folder(1) / "rewards/part-00009.parquet"
    path.touch()
    (damage,) = verify(run)
    assert (damage.path, damage.stage) == (path, None)
    assert damage.what.startswith("only files that the stage wrote may be here")


def test_metrics_that_are_gone_or_of_another_round_are_told(linked):
    run = linked[0]
    run.write_metrics(1, run.metrics()[0])
    run.metrics_path(2).unlink()
    run.finish_round(2)
    told = "this round's metrics are required as they were written, got others"
    assert [(damage.path, damage.what) for damage in verify(run)] == [
        (run.metrics_path(1), told),
        (run.metrics_path(2), told),
    ]


def test_an_evaluation_is_held_to_its_policy_and_its_captions(linked):
    run = linked[0]
    path = run.evaluation_folder(2, "tuning") / "evaluate.json"
    edit(path, lambda manifest: manifest["inputs"].update(policy="0"))
    flip(run.evaluation_folder(0, "test") / "evaluate.json")
    flip(run.evaluation_folder(1, "tuning") / "pictures/part-00000.parquet")
    found = {damage.path.relative_to(run.path).parts[1]: damage for damage in verify(run)}
    assert {name: damage.number for name, damage in found.items()} == {
        "0000-test": 0,
        "0002-tuning": 2,
        "0001-tuning": 1,
    }
    assert found["0000-test"].what == "the manifest must be as it was written, got a damaged or edited one"
    required = "an evaluation of this run's policy after 2 rounds on tuning is required, got another"
    assert found["0002-tuning"].what == required
    assert found["0001-tuning"].path.name == "part-00000.parquet"


def test_a_round_that_staleness_has_begun_ahead_is_looked_at_too(linked):
    run, params, executor = linked
    for number in (3, 4):
        run_stage(run, STAGES["prompts"], number, params, executor)
        flip(shard_path(run.round_folder(number) / "prompts", 0))
    assert [damage.number for damage in verify(run)] == [3, 4]


def test_a_policy_whose_state_is_damaged_is_told_once_and_its_later_rounds_stay(linked):
    run = linked[0]
    state = run.policy_folder(2) / "state.json"
    state.unlink()
    write_json(state, {})
    assert paths(verify(run)) == [state]
