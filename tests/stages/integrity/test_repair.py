import os
from types import SimpleNamespace

import pytest
from cases import FORGED, HURT
from damage import bring_to_the_end, edit, flip, numbers
from tiny import tables, tiny_params

from stages.contract.declared_stages import STAGES
from stages.disk.files import file_digest, value_digest
from stages.disk.tables import REWARDS, arrow, read_shard, shard_path, shard_stamp, write_shard
from stages.engine.execute import run_stage
from stages.engine.loaded_models import Resources
from stages.integrity.repair import make_inputs, repair
from stages.integrity.verify import verify
from stages.store.retention import prune


def same(run, undamaged):
    return verify(run) == [] and tables(run.path) == tables(undamaged.path) and numbers(run) == numbers(undamaged)


@pytest.mark.parametrize(("hurt", "file"), HURT)
def test_a_hurt_file_is_named_alone_and_made_again_as_it_was(copied, undamaged, hurt, file):
    run, params, resources = copied
    hurt(run.path / file)
    assert bring_to_the_end(run, params, resources) == [run.path / file]
    assert same(run, undamaged)


@pytest.mark.parametrize("forge", FORGED)
def test_what_is_of_another_run_or_was_edited_is_named_and_made_again(copied, trained_once, undamaged, forge):
    run, params, resources = copied
    file = forge(run, trained_once)
    assert file in bring_to_the_end(run, params, resources)
    assert same(run, undamaged)


def test_all_kinds_of_damage_at_once_are_mended(copied, undamaged):
    run, params, resources = copied
    for file in {file for hurt, file in HURT if hurt is flip}:
        flip(run.path / file)
    bring_to_the_end(run, params, resources)
    assert same(run, undamaged)


def test_a_manifest_that_is_gone_vouches_for_no_shard(copied, undamaged):
    run, params, resources = copied
    (run.round_folder(0) / "rollout.json").unlink()
    flip(shard_path(run.round_folder(0) / "anchors", 0))  # its stamp is whole
    bring_to_the_end(run, params, resources)
    assert same(run, undamaged)


def test_a_round_that_is_gone_is_made_again_and_the_policies_after_it_stay(copied, undamaged):
    run, params, resources = copied
    for path in sorted(run.round_folder(1).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    last = (run.policy_folder(3) / "weights.safetensors").stat().st_ino
    bring_to_the_end(run, params, resources)
    assert (run.policy_folder(3) / "weights.safetensors").stat().st_ino == last
    assert same(run, undamaged)


def test_a_pruned_round_is_mended_from_the_nearest_policy(copied, undamaged):
    run, _, resources = copied
    pruned = tiny_params("run.rounds=3", "retention.rounds=1", "evaluate.every=9")
    prune(run, pruned)
    assert not (run.policy_folder(2) / "weights.safetensors").exists()
    flip(run.round_folder(1) / "rewards/part-00000.parquet")  # needs completions, transitions and policies again
    bring_to_the_end(run, pruned, resources)
    assert verify(run) == []
    kept = tables(run.path)
    assert kept == {name: content for name, content in tables(undamaged.path).items() if name in kept}
    assert "rounds/0001/completions/part-00000.parquet" not in kept  # let go again
    assert numbers(run) == numbers(undamaged)


def test_a_damaged_tombstone_brings_back_what_it_let_go(copied, undamaged):
    run, params, resources = copied
    prune(run, tiny_params("retention.rounds=2", "evaluate.every=9"))
    flip(run.round_folder(0) / "pruned.json")
    repair(run, verify(run), params, resources)
    assert same(run, undamaged)


def test_the_unfinished_round_goes_on_after_damage(copied, trained_once):
    run, params, resources = copied
    for name in ("prompts", "rollout"):
        run_stage(run, STAGES[name], 3, params, resources)
    run_stage(run, STAGES["complete"], 3, params, resources, shards=[0])
    folder = run.round_folder(3)
    for path in (shard_path(folder / "transitions", 1), shard_path(folder / "completions", 0), folder / "prompts.json"):
        flip(path)
    more = tiny_params("run.rounds=4", "retention.rounds=null")
    bring_to_the_end(run, more, resources)
    assert verify(run) == []
    assert tables(trained_once("run.rounds=4")[0].path).items() <= tables(run.path).items()


def test_an_evaluation_whose_policy_was_let_go_is_made_again(copied, undamaged):
    run, _, resources = copied
    pruned = tiny_params("run.rounds=3", "retention.rounds=1", "evaluate.every=9")
    prune(run, pruned)
    flip(run.path / "evaluations/0001-tuning/pictures/part-00000.parquet")
    bring_to_the_end(run, pruned, resources)
    (again, before) = (tables(which.path / "evaluations/0001-tuning") for which in (run, undamaged))
    assert again == before
    assert verify(run) == []


def test_what_comes_out_otherwise_than_later_rounds_had_it_is_refused(copied):
    run, params, resources = copied
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
    with pytest.raises(ValueError, match=r"not as the later rounds had it .*update.json: .*Bring the file back from"):
        repair(run, found, params, resources)


def test_where_a_stage_comes_out_otherwise_as_on_another_machine_nothing_more_is_spoilt(copied):
    run, params, _ = copied
    flip(shard_path(run.round_folder(0) / "rewards", 1))
    manifests = {path: path.read_bytes() for path in run.path.rglob("*.json")}

    class Elsewhere(Resources):
        def reward(self, name):
            judge = super().reward(name)
            return SimpleNamespace(name=name, score=lambda images, texts: judge.score(images, texts) + 1e-3)

    for _ in range(2):
        with pytest.raises(ValueError, match=r"another machine.*score.json: its files came out otherwise. Bring"):
            repair(run, verify(run), params, Elsewhere(params))
        assert {path: path.read_bytes() for path in run.path.rglob("*.json")} == manifests
    bring_to_the_end(run, params, Resources(params))
    assert verify(run) == []


def test_the_other_names_of_a_damaged_file_are_mended_with_it(copied, undamaged, tmp_path):
    run, params, resources = copied
    shard = shard_path(run.round_folder(0) / "completions", 1)
    cached = tmp_path / "cached"
    content = shard.read_bytes()
    shard.unlink()
    shard.write_bytes(content)
    os.link(shard, cached)
    with shard.open("r+b") as file:  # in place, as a failing disk does
        file.seek(len(content) // 2)
        file.write(bytes([content[len(content) // 2] ^ 0xFF]))
    shard.chmod(0o444)
    assert bring_to_the_end(run, params, resources) == [shard]
    assert cached.read_bytes() == content
    assert cached.stat().st_mode & 0o777 == 0o444
    assert same(run, undamaged)


def test_remade_inputs_that_come_out_otherwise_are_put_back_and_told(copied):
    run, params, _ = copied
    prune(run, tiny_params("retention.rounds=1", "evaluate.every=99"))
    before = tables(run.path)

    class Elsewhere(Resources):
        def field(self, *words, **named):
            field = super().field(*words, **named)
            forward = field.policy.velocity
            field.policy = SimpleNamespace(
                **{name: getattr(field.policy, name) for name in ("module", "latent_shape", "device", "num_forwards")},
                velocity=lambda *given: forward(*given) * (1 + 1e-3),
            )
            return field

    for _ in range(2):
        with pytest.raises(ValueError, match="another machine"):
            make_inputs(run, STAGES["rollout"], 1, params, Elsewhere(params))
        assert tables(run.path).items() >= before.items()
        assert verify(run) == []


def test_damaged_weights_are_not_computed_with(copied):
    run, params, resources = copied
    flip(run.policy_folder(1) / "weights.safetensors")
    with pytest.raises(ValueError, match=r"weights.safetensors must be as it was written"):
        run_stage(run, STAGES["rollout"], 1, params, resources, force=True)
