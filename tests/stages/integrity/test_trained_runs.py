"""What is made again after damage, retention or a journey is what was trained, to the last bit.

Every kind of damage is tried in test_repair.py too, on rounds by hand: there it takes a tenth of the time.
"""

from types import SimpleNamespace

import pytest
from cases import FORGED, HURT
from damage import bring_to_the_end, flip, linked_copy, numbers
from rounds import new_run
from tiny import tables, tiny_params

from stages.contract.declared_stages import STAGES
from stages.disk.tables import shard_path
from stages.engine.execute import run_stage
from stages.engine.loaded_models import Resources
from stages.integrity.repair import make_inputs, repair
from stages.integrity.verify import verify
from stages.params.file import load_params, written
from stages.store.child_run import begin_child
from stages.store.retention import prune
from stages.store.run import Run
from stages.store.transfer import adopt

pytestmark = pytest.mark.long


def same(run, undamaged):
    return verify(run) == [] and tables(run.path) == tables(undamaged.path) and numbers(run) == numbers(undamaged)


@pytest.mark.slow
@pytest.mark.parametrize(("hurt", "file"), HURT)
def test_a_hurt_file_is_named_alone_and_made_again_as_it_was(copied, undamaged, hurt, file):
    run, params, resources = copied
    hurt(run.path / file)
    assert bring_to_the_end(run, params, resources) == [run.path / file]
    assert same(run, undamaged)


@pytest.mark.slow
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
    run, params, _ = copied
    flip(run.policy_folder(1) / "weights.safetensors")
    with pytest.raises(ValueError, match=r"weights.safetensors must be as it was written"):
        run_stage(run, STAGES["rollout"], 1, params, Resources(params), force=True)


LATENTS = {"anchors", "transitions", "completions"}
KEPT = {"prompts", "diversity", "rewards", "advantages", "old_log_probs", "updates", "policy"}


def outputs(run, number):
    return {path.name for path in run.round_folder(number).iterdir() if path.is_dir()}


def test_more_rounds_of_a_pruned_run_are_those_of_one_that_kept_all(trained_once, store):
    start, _, resources = trained_once()
    whole = trained_once("run.rounds=4")[0]
    run = Run(linked_copy(start.path, store / "runs" / start.key))
    bring_to_the_end(run, tiny_params("run.rounds=4", "retention.rounds=1"), resources)
    assert [outputs(run, number) for number in (2, 3)] == [KEPT, KEPT | LATENTS]
    assert numbers(run) == numbers(whole)
    there = tables(run.path)
    shared = [name for name in there if not name.startswith("evaluations/") or "-tuning" in name]  # the best may differ
    assert [tables(whole.path)[name] for name in shared] == [there[name] for name in shared]


@pytest.mark.parametrize(("name", "number"), [("complete", 0), ("rollout", 1), ("update", 1)])
def test_a_stage_whose_tables_were_let_go_is_made_again_as_it_was(copied, undamaged, name, number):
    run, _, resources = copied
    params = tiny_params("run.rounds=3", "retention.rounds=1", "evaluate.every=99")
    prune(run, params)
    make_inputs(run, STAGES[name], number, params, resources)
    run_stage(run, STAGES[name], number, params, resources, force=True)
    there, before = tables(run.path), tables(undamaged.path)
    again = [f"rounds/{number:04d}/{output}/" for output in STAGES[name].outputs]
    assert all(name in there for name in before if name.startswith(tuple(again)))
    assert there == {name: content for name, content in before.items() if name in there}
    assert verify(run) == []


def test_a_run_that_comes_back_into_an_empty_store_goes_on(undamaged, trained_once, tmp_path):
    run = adopt(Run(linked_copy(undamaged.path, tmp_path / "outside")))
    bring_to_the_end(run, tiny_params("run.rounds=4", "retention.rounds=null"), trained_once()[2])
    assert numbers(run) == numbers(trained_once("run.rounds=4")[0])
    assert verify(run) == []


def test_a_child_goes_on_otherwise_is_whole_and_comes_out_the_same_from_its_parameters_alone(
    copied, undamaged, tmp_path, monkeypatch
):
    parent, params, _ = copied
    child = begin_child(parent, params, 1, reason="reward_hacking", device="cpu")
    bring_to_the_end(child, child.params(), new_run(child.params())[2])
    assert (child.num_finished, verify(child)) == (3, [])
    assert tables(parent.path) == tables(undamaged.path)
    weights = "policy/weights.safetensors"
    assert (child.round_folder(1) / weights).read_bytes() != (parent.round_folder(1) / weights).read_bytes()
    (tmp_path / "params.yaml").write_text(written(child.params()))
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path / "alone"))
    again, *rest = new_run(load_params(tmp_path / "params.yaml"))
    bring_to_the_end(again, *rest)
    assert again.key == child.key
    assert tables(again.path) == tables(child.path)
