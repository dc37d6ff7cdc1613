"""Runs that a stranger has written, with seals that fit: nothing outside a run's folder is opened or changed."""

import os
import shutil

import pytest
from damage import bring_to_the_end, edit, go_on, linked_copy, replace
from stages_by_hand import StagesByHand
from tiny import tables, tiny_params

from stages.contract.declared_stages import STAGES
from stages.disk.files import value_digest, write_json, write_sealed
from stages.disk.policy_state import missing_files, state_digest
from stages.disk.tables import shard_path
from stages.integrity.damage import num_marked
from stages.integrity.go_back import go_back
from stages.integrity.repair import repair
from stages.integrity.verify import verify
from stages.store.child_run import last_descendant
from stages.store.fingerprint import Fingerprint
from stages.store.lock import locked
from stages.store.manifest import pruned_outputs, read_manifest
from stages.store.retention import prune
from stages.store.run import Run, find_run, open_run
from stages.store.transfer import adopt

SECRET = "../../../../../../id_rsa"
"""As seen from a table of a round in `store/runs/KEY/rounds/0000/rewards`: a file beside the store."""


@pytest.fixture
def secret(tmp_path):
    """A file, and a folder, of a person's own, beside the store."""
    (tmp_path / "thesis").mkdir()
    for name in ("id_rsa", "thesis/chapter"):
        (tmp_path / name).write_text("precious")
    yield tmp_path / "id_rsa"
    for name in ("id_rsa", "thesis/chapter"):
        assert (tmp_path / name).read_text() == "precious"


def sealed_anew(path, change):
    """Change a manifest, its digests and its seal, as a stranger does."""

    def fit(manifest):
        change(manifest["outputs"])
        for out in manifest["outputs"].values():
            out["digest"] = value_digest(out["files"])

    edit(path, fit)


@pytest.mark.parametrize(
    "change",
    [
        lambda outputs: outputs["rewards"]["files"].update({SECRET: "0" * 64}),
        lambda outputs: outputs["rewards"]["files"].update({"/etc/hostname": "0" * 64}),
        lambda outputs: outputs.update({"../../../../../thesis": outputs["rewards"]}),
        lambda outputs: outputs["rewards"]["files"].update({"part-00000.parquet": "../" * 21 + "x"}),
        lambda outputs: outputs["rewards"].update(rows=-1),
    ],
    ids=["a name that leaves the run", "an absolute name", "a folder outside", "no digest", "less than no row"],
)
def test_a_manifest_with_what_no_stage_writes_counts_as_damaged_and_its_stage_is_made_again(
    linked, whole, secret, change
):
    run, params, executor = linked
    manifest = run.round_folder(0) / "score.json"
    sealed_anew(manifest, change)
    assert [damage.path for damage in verify(run)] == [manifest]
    repair(run, verify(run), params, executor)
    assert tables(run.path) == tables(whole.path)


def test_a_start_after_the_adoption_of_such_a_run_removes_nothing_outside(whole, tmp_path, secret):
    copy = Run(linked_copy(whole.path, tmp_path / "outside"))
    last = copy.round_folder(2)
    sealed_anew(last / "score.json", lambda outputs: outputs["rewards"]["files"].update({SECRET: "0" * 64}))
    sealed_anew(last / "rollout.json", lambda outputs: outputs.update({"../../../../../thesis": outputs["anchors"]}))
    for name in ("complete", "integrate", "update"):
        (last / f"{name}.json").unlink()
    Run(copy.path).finish_round(1)
    run = adopt(copy)
    go_on(run, tiny_params("run.rounds=3", "retention.rounds=null"), StagesByHand())
    assert verify(run) == []


@pytest.mark.parametrize("name", ["../../../../../../id_rsa", "/etc/hostname", "notes.txt"])
def test_a_state_with_other_files_than_a_policys_is_damaged_and_pruning_keeps_off_them(linked, secret, name):
    run = linked[0]
    files = {name: "0" * 64}
    path = run.policy_folder(1) / "state.json"
    path.unlink()
    write_json(path, {"digest": state_digest(1, files), "num_steps": 1, "files": files})
    with pytest.raises(ValueError, match="got a damaged or edited file"):
        missing_files(run.policy_folder(1))
    with pytest.raises(ValueError, match="got a damaged or edited file"):
        prune(run, tiny_params("retention.rounds=1", "evaluate.every=9"))
    assert path in [damage.path for damage in verify(run)]


def test_a_tombstone_names_prunable_outputs_alone(linked, secret):
    run = linked[0]
    write_sealed(run.round_folder(0) / "pruned.json", {"outputs": ["../../../../../thesis"]})
    assert pruned_outputs(run.round_folder(0)) == frozenset()
    assert [damage.path.name for damage in verify(run)] == ["pruned.json"]


@pytest.mark.parametrize("outputs", [{}, {"rewards": {}}, {"rewards": []}, [], None])
def test_a_manifest_without_its_outputs_is_none(linked, outputs):
    run = linked[0]
    path = run.round_folder(0) / "score.json"
    edit(path, lambda manifest: manifest.update(outputs=outputs))
    assert read_manifest(path.parent, STAGES["score"]) is None
    assert path in [damage.path for damage in verify(run)]


@pytest.mark.parametrize(
    "files", [["../../../id_rsa"], "rounds", [1], {"a": 1}], ids=["outside", "text", "number", "object"]
)
def test_a_mark_of_damage_is_counted_and_nothing_that_it_names_is_opened(linked, secret, files):
    run = linked[0]
    write_sealed(run.path / "damaged.json", {"files": files})
    assert num_marked(run) == (1 if files == ["../../../id_rsa"] else 0)


@pytest.mark.parametrize(
    "change",
    [
        {"key": "../../../victim"},
        {"key": "A" * 16},
        {"created_at": 1e300},
        {"created_at": "now"},
        {"sessions": None},
        {"fingerprint": {}},
        {"parent": {"key": "../../victim", "round": 1, "reason": "kl", "generation": 1}},
        {"parent": {"key": "0" * 16}},
    ],
)
def test_a_run_json_with_other_values_than_ours_is_damaged(linked, change):
    run = linked[0]
    edit(run.path / "run.json", lambda about: about.update(change))
    with pytest.raises(ValueError, match=r"run\.json must be as it was written"):
        run.about  # noqa: B018
    assert [damage.path.name for damage in verify(run)] == ["run.json"]


def test_runs_that_are_each_others_parent_end_no_search(linked, made_once, store):
    one = linked[0]
    other = made_once("run.seed=1")[0]
    other = Run(linked_copy(other.path, store / "runs" / other.key))
    for child, parent in ((one, other.key), (other, one.key)):
        by = {"key": parent, "round": 1, "reason": "kl", "generation": 1}
        edit(child.path / "run.json", lambda about, by=by: about.update(parent=by))
    assert last_descendant(one).key in (one.key, other.key)


@pytest.mark.parametrize("content", [b"9" * 5000, b"\xb2", b"1000000000"])
def test_a_head_of_more_rounds_than_a_run_can_have_is_damaged(linked, content):
    run = linked[0]
    replace(run.path / "HEAD", content)
    with pytest.raises(ValueError, match="HEAD must be a number of rounds"):
        run.num_finished  # noqa: B018
    assert [damage.path.name for damage in verify(run)] == ["HEAD"]


def plant(run, place, target):
    """Put a link to somebody's file or folder into a run."""
    path = run.path / place
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.symlink_to(target)
    return path


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ("rounds/0000/rewards/part-00001.parquet", "id_rsa"),
        ("rounds/0000/completions", "thesis"),
        ("rounds/0001/policy", "thesis"),
        ("metrics", "thesis"),
        ("lock", "id_rsa"),
        ("HEAD", "id_rsa"),
        ("notes", "thesis"),
    ],
)
def test_a_run_with_a_link_is_refused_before_anything_is_read_or_written(linked, secret, place, target):
    run, params, _ = linked
    path = plant(run, place, secret.with_name(target))
    told = rf"files and folders of its own alone, got a link or a special file, {path}\. Nothing was read or written"
    with pytest.raises(ValueError, match=told), locked(run.path):
        prune(run, params)
    with pytest.raises(ValueError, match=told):
        find_run(run.path.name)
    path.unlink()


def test_a_pipe_in_a_run_is_refused_and_not_waited_for(linked):
    run = linked[0]
    os.mkfifo(run.round_folder(0) / "rewards" / "part-00007.parquet")
    with pytest.raises(ValueError, match="got a link or a special file"):
        find_run(run.key)


def test_a_file_that_is_made_again_takes_its_name_and_another_name_keeps_its_bytes(linked, whole, secret):
    """A hard link that somebody has planted, or DVC's cache: who can tell."""
    run, params, executor = linked
    shard = shard_path(run.round_folder(0) / "rewards", 1)
    shard.unlink()
    os.link(secret, shard)
    assert bring_to_the_end(run, params, executor) == [shard]
    assert not shard.samefile(secret)
    assert tables(run.path) == tables(whole.path)


def test_a_lock_that_is_another_name_of_somebodys_file_is_not_written_to(linked, secret):
    run = linked[0]
    (run.path / "lock").unlink(missing_ok=True)
    os.link(secret, run.path / "lock")
    with pytest.raises(OSError, match="has other names"), locked(run.path):
        pass


@pytest.mark.parametrize(
    "name",
    [
        "rounds/0001.bak/score.json",
        "metrics/0001 (copy).json",
        "evaluations/old/evaluate.json",
        "evaluations/9-x/evaluate.json",
        ".former/0001-x/a",
        "rounds/٣/a",
    ],
)
def test_what_is_not_ours_is_ignored_by_every_reader(linked, name):
    run, params, executor = linked
    (run.path / name).parent.mkdir(parents=True, exist_ok=True)
    (run.path / name).write_text("{}")
    assert verify(run) == []
    assert len(run.evaluations()) == 6
    go_back(run, 2)
    assert bring_to_the_end(run, params, executor) == []
    assert verify(run) == []


def test_a_link_in_place_of_a_run_is_refused_and_nothing_behind_it_is_touched(store, tmp_path):
    thesis = tmp_path / "thesis"
    (thesis / "sub" / ".draft.tmp").mkdir(parents=True)
    params = tiny_params("run.seed=99")
    key = Fingerprint.of(params, "cpu").key
    (store / "runs").mkdir(parents=True, exist_ok=True)
    (store / "runs" / key).symlink_to(thesis)
    with pytest.raises(ValueError, match=rf"got a link or a special file, .*{key}\. Nothing was read or written"):
        open_run(params, device="cpu")
    assert [path.name for path in thesis.rglob("*")] == ["sub", ".draft.tmp"]
