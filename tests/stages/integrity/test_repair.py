import pytest
from cases import FORGED, HURT
from damage import bring_to_the_end, edit, flip, numbers, replace
from stages_by_hand import StagesByHand
from tiny import tables, tiny_params

from stages.contract.declared_stages import STAGES
from stages.disk.files import file_digest, read_sealed, value_digest
from stages.disk.tables import REWARDS, arrow, read_shard, shard_path, shard_stamp, write_shard
from stages.engine.execute import run_stage
from stages.integrity.former import restore_former
from stages.integrity.repair import make_inputs, repair
from stages.integrity.verify import verify
from stages.store.retention import prune

pytestmark = pytest.mark.long


def again(run, whole):
    """Whether the tables, policies and metrics are as they were."""
    return tables(run.path) == tables(whole.path) and numbers(run) == numbers(whole)


def same(run, whole):
    return verify(run) == [] and again(run, whole)


def test_where_a_stage_comes_out_otherwise_as_on_another_machine_nothing_more_is_spoilt(linked, whole):
    run, params, executor = linked
    flip(shard_path(run.round_folder(0) / "rewards", 1))
    manifests = {path: path.read_bytes() for path in run.path.rglob("*.json")}
    for _ in range(2):
        with pytest.raises(ValueError, match=r"another machine.*score.json: its files differ. Restore"):
            repair(run, verify(run), params, StagesByHand(off=1e-3))
        assert {path: path.read_bytes() for path in run.path.rglob("*.json")} == manifests
    repair(run, verify(run), params, executor)
    assert same(run, whole)
    assert not (run.path / ".former").exists()


def test_a_kill_leaves_the_next_repair_what_it_compares_with(linked, whole):
    """Of two stages the first is made again, the second is interrupted; another machine cannot make it the same."""
    run, params, executor = linked
    for table in ("prompts", "rewards"):
        flip(shard_path(run.round_folder(0) / table, 1))
    manifest = (run.round_folder(0) / "score.json").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        repair(run, verify(run), params, StagesByHand(killed_in=("score", 0)))
    restore_former(run)
    (left,) = verify(run)
    assert left.path == shard_path(run.round_folder(0) / "rewards", 1)
    with pytest.raises(ValueError, match=r"another machine.*score.json: its files differ"):
        repair(run, [left], params, StagesByHand(off=1e-3))
    assert (run.round_folder(0) / "score.json").read_bytes() == manifest
    repair(run, verify(run), params, executor)
    assert same(run, whole)


def test_a_stage_that_refuses_its_inputs_leaves_its_manifest(linked):
    run, params, executor = linked
    prune(run, tiny_params("retention.rounds=1", "evaluate.every=99"))
    flip(shard_path(run.round_folder(1) / "prompts", 0))
    manifest = (run.round_folder(1) / "rollout.json").read_bytes()
    with pytest.raises(ValueError, match="prompts/part-00000.parquet must be as it was written"):
        make_inputs(run, STAGES["complete"], 1, params, executor)
    assert (run.round_folder(1) / "rollout.json").read_bytes() == manifest


def test_remade_inputs_that_come_out_otherwise_are_put_back_and_told(linked):
    run, params, _ = linked
    prune(run, tiny_params("retention.rounds=1", "evaluate.every=99"))
    before = tables(run.path)
    with pytest.raises(ValueError, match=r"another machine.*rollout.json: its files differ"):
        make_inputs(run, STAGES["complete"], 1, params, StagesByHand(off=1e-3))
    assert tables(run.path).items() >= before.items()
    assert verify(run) == []


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("prompts", []),
        ("score", [("rollout", 0), ("complete", 0)]),
        ("complete", [("rollout", 0)]),
        ("integrate", []),
        ("update", [("rollout", 0)]),
    ],
)
def test_inputs_that_were_let_go_are_made_again_and_no_others(linked, whole, name, made):
    run, params, executor = linked
    prune(run, tiny_params("retention.rounds=2", "evaluate.every=99"))
    make_inputs(run, STAGES[name], 0, params, executor)
    assert executor.done == made
    assert tables(run.path).items() <= tables(whole.path).items()


def test_a_policy_is_made_again_from_the_nearest_that_is_there(linked):
    run, params, executor = linked
    prune(run, tiny_params("retention.rounds=1", "evaluate.every=99"))
    make_inputs(run, STAGES["rollout"], 2, params, executor)
    assert executor.done == [("rollout", 0), ("update", 0), ("rollout", 1), ("update", 1)]
    assert verify(run) == []


def test_an_evaluation_on_captions_that_no_parameters_name_is_forgotten(linked, whole):
    run, params, executor = linked
    folder = run.path / "evaluations/0003-test"
    flip(folder / "evaluations/part-00000.parquet")
    told = params.with_values({"report.split": "tuning"})
    repair(run, verify(run), told, executor)
    assert not (folder / "evaluate.json").exists()
    assert (verify(run), executor.done) == ([], [])


def test_damage_of_the_unfinished_round_is_removed_and_nothing_is_made(linked):
    run, params, executor = linked
    run_stage(run, STAGES["prompts"], 3, params, executor)
    flip(shard_path(run.round_folder(3) / "prompts", 0))
    executor.done.clear()
    repair(run, verify(run), params, executor)
    assert executor.done == []
    assert [path.name for path in run.round_folder(3).rglob("*.*")] == ["part-00001.parquet"]


def test_own_files_are_written_anew_from_the_parameters_and_the_rounds_that_are_there(linked, whole):
    run, params, executor = linked
    for name in ("run.json", "HEAD", "base/state.json", "params.yaml", "prompts/test/part-00000.parquet"):
        (run.path / name).unlink()
    repair(run, verify(run), params, executor)
    assert (same(run, whole), executor.done) == (True, [])
    assert read_sealed(run.path / "run.json")["key"] == whole.key
    assert (run.path / "HEAD").read_text() == "3\n"


def test_a_damaged_prompt_list_without_another_source_is_refused_and_left(linked):
    run, _, executor = linked
    by_itself = run.params()
    flip(run.prompts / "train/part-00000.parquet")
    with pytest.raises(ValueError, match=r"list of prompts is required.*Run `g2rpo train --params FILE`"):
        repair(run, verify(run), by_itself, executor)
    assert (run.prompts / "train/part-00000.parquet").is_file()


def test_own_files_that_stay_damaged_are_an_error(linked):
    run, params, executor = linked
    run = type(run)(run.path.rename(run.path.with_name("0" * 16)))  # in the folder of another run
    with pytest.raises(ValueError, match="own files must be whole after they were written anew, got .*run.json"):
        repair(run, verify(run), params, executor)


def test_a_manifest_that_is_gone_vouches_for_no_shard(linked, whole):
    run, params, executor = linked
    (run.round_folder(0) / "rollout.json").unlink()
    flip(shard_path(run.round_folder(0) / "anchors", 0))  # its stamp is whole
    bring_to_the_end(run, params, executor)
    assert same(run, whole)


def test_a_round_that_is_gone_is_made_again_and_the_policies_after_it_stay(linked, whole):
    run, params, executor = linked
    for path in sorted(run.round_folder(1).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    last = (run.policy_folder(3) / "weights.safetensors").stat().st_ino
    bring_to_the_end(run, params, executor)
    assert (run.policy_folder(3) / "weights.safetensors").stat().st_ino == last
    assert same(run, whole)


def test_a_pruned_round_is_mended_from_the_nearest_policy(linked, whole):
    run, _, executor = linked
    pruned = tiny_params("run.rounds=3", "retention.rounds=1", "evaluate.every=9")
    prune(run, pruned)
    assert not (run.policy_folder(2) / "weights.safetensors").exists()
    flip(run.round_folder(1) / "rewards/part-00000.parquet")  # needs completions, transitions and policies again
    bring_to_the_end(run, pruned, executor)
    assert verify(run) == []
    kept = tables(run.path)
    assert kept == {name: content for name, content in tables(whole.path).items() if name in kept}
    assert "rounds/0001/completions/part-00000.parquet" not in kept  # let go again
    assert numbers(run) == numbers(whole)


def test_a_damaged_tombstone_brings_back_what_it_let_go(linked, whole):
    run, params, executor = linked
    prune(run, tiny_params("retention.rounds=2", "evaluate.every=9"))
    flip(run.round_folder(0) / "pruned.json")
    repair(run, verify(run), params, executor)
    assert same(run, whole)


def test_the_unfinished_round_goes_on_after_damage(linked, made_once):
    run, params, executor = linked
    for name in ("prompts", "rollout"):
        run_stage(run, STAGES[name], 3, params, executor)
    run_stage(run, STAGES["complete"], 3, params, executor, shards=[0])
    folder = run.round_folder(3)
    flip(shard_path(folder / "transitions", 1))
    flip(folder / "prompts.json")
    half = shard_path(folder / "completions", 0)  # no manifest names it yet; its pages carry checksums
    replace(half, half.read_bytes().replace(b"p0", b"q0"))
    more = tiny_params("run.rounds=4", "retention.rounds=null")
    bring_to_the_end(run, more, executor)
    assert verify(run) == []
    assert tables(made_once("run.rounds=4")[0].path).items() <= tables(run.path).items()


def test_an_evaluation_whose_policy_was_let_go_is_made_again(linked, whole):
    run, _, executor = linked
    pruned = tiny_params("run.rounds=3", "retention.rounds=1", "evaluate.every=9")
    prune(run, pruned)
    flip(run.path / "evaluations/0001-tuning/pictures/part-00000.parquet")
    bring_to_the_end(run, pruned, executor)
    (again, before) = (tables(which.path / "evaluations/0001-tuning") for which in (run, whole))
    assert again == before
    assert verify(run) == []


def test_what_comes_out_otherwise_than_later_rounds_had_it_is_refused(linked):
    run, params, executor = linked
    folder = run.round_folder(1) / "rewards"
    rows = read_shard(folder, 0)
    columns = {name: rows[name] for name in rows.column_names} | {"value": rows["value"].to_numpy() + 0.1}
    write_shard(folder, 0, REWARDS, arrow(REWARDS, columns), stamp=shard_stamp(folder, 0))

    def to_fit(manifest):  # a forger who knows of digests, but not of the stages after this one
        out = manifest["outputs"]["rewards"]
        out["files"]["part-00000.parquet"] = file_digest(shard_path(folder, 0))
        out["digest"] = value_digest(out["files"])

    edit(run.round_folder(1) / "score.json", to_fit)
    found = verify(run)
    assert [damage.path for damage in found] == [run.round_folder(1) / "integrate.json"]
    with pytest.raises(
        ValueError, match=r"must equal those that later rounds used.*update.json: .*Restore the file from"
    ):
        repair(run, found, params, executor)


@pytest.mark.parametrize(("hurt", "file"), HURT)
def test_a_hurt_file_is_named_alone_and_made_again_as_it_was(linked, whole, hurt, file):
    run, params, executor = linked
    hurt(run.path / file)
    found = verify(run)
    assert [damage.path for damage in found] == [run.path / file]
    repair(run, found, params, executor)  # it verifies what comes out
    assert again(run, whole)


@pytest.mark.parametrize("forge", FORGED)
def test_what_is_of_another_run_or_was_edited_is_named_and_made_again(linked, made_once, whole, forge):
    run, params, executor = linked
    file = forge(run, made_once)
    found = verify(run)
    assert file in [damage.path for damage in found]
    repair(run, found, params, executor)  # it verifies what comes out
    assert again(run, whole)
