"""Commands that keep the store in order, on copies of a trained run."""

import shutil

import pytest
from damage import linked_copy, numbers
from rounds import judged_finally
from tiny import tables
from tracking import images_of, shown, steps_of, values_of

from flows.tracking.backfill import synced
from flows.training.one_stage import run_alone
from flows.upkeep.store_commands import adopted, pruned, verified
from stages.store.run import Run


@pytest.fixture
def copied(trained, g2rpo, monkeypatch):
    """A copy of the trained run, of which this process can also call the commands."""
    linked_copy(trained.store, g2rpo.store)
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("G2RPO_HOME", str(g2rpo.store))
    return g2rpo


def test_a_pruned_run_is_whole_and_a_stage_of_it_is_made_again(copied, trained):
    folder = copied.run_folder()
    assert pruned(folder.name, 1) == f"run {folder.name}: 0.3 MB freed; the last 1 rounds keep everything"
    evaluations = 3 + len(judged_finally(Run(folder)))
    assert verified(folder.name) == f"run {folder.name} is whole: 2 rounds, {evaluations} evaluations"
    gone = tables(trained.run_folder()).keys() - tables(folder).keys()
    assert {name.rsplit("/", 1)[0] for name in gone} == {
        f"rounds/0000/{table}" for table in ("anchors", "transitions", "completions")
    }
    assert "complete of round 0 done in" in run_alone("complete", folder.name, 0, shards=None, force=True)
    assert tables(folder) == tables(trained.run_folder())  # rollout, which it reads, was made again too
    assert pruned(folder.name, 1).startswith(f"run {folder.name}: 0.3 MB freed")


def test_nothing_is_pruned_where_nothing_is_to_be_let_go(copied):
    name = copied.run_folder().name
    params = copied.run_folder() / "params.yaml"
    text = params.read_text().replace("retention:\n  rounds: 20", "retention:\n  rounds: null")
    params.unlink()
    params.write_text(text)
    assert pruned(name, None) == f"run {name}: 0.0 MB freed; all rounds keep everything"


def test_a_stage_that_was_not_forced_leaves_what_was_let_go(copied):
    name = copied.run_folder().name
    pruned(name, 1)
    assert "was done already" in run_alone("rollout", name, 0, shards=None, force=False)
    assert not (copied.run_folder() / "rounds/0000/anchors").exists()


@pytest.mark.slow
def test_a_run_goes_on_by_its_key_with_more_rounds_and_is_exported(copied, trained, tmp_path):
    folder = copied.run_folder()
    words = ("--set", "run.rounds=3", "--no-final", "--export", str(tmp_path / "out"))
    done = copied("train", "--run", folder.name, *words)
    assert done.returncode == 0, done.stderr
    assert "2 of 3 rounds are done" in done.stderr
    assert tables(trained.run_folder()).items() <= tables(folder).items()
    shard = "rounds/0002/rewards/part-00000.parquet"
    assert (folder / shard).stat().st_ino == (tmp_path / "out" / shard).stat().st_ino

    shutil.rmtree(folder)
    assert (
        adopted(tmp_path / "out", [].append)
        == f"run {folder.name} is in the store with 3 rounds; each start of it checks them: {folder}"
    )
    evaluations = 4 + len(judged_finally(Run(trained.run_folder())))
    assert verified(folder.name) == f"run {folder.name} is whole: 3 rounds, {evaluations} evaluations"
    assert numbers(Run(folder))[:2] == numbers(Run(trained.run_folder()))


def test_a_run_does_not_go_on_by_other_numbers(copied):
    folder = copied.run_folder()
    before = tables(folder), (folder / "params.yaml").read_bytes()
    done = copied("train", "--run", folder.name, "--set", "update.learning_rate=1e-3", "--set", "run.seed=3")
    assert done.returncode == 2
    assert f"Run {folder.name} continues only with the parameters that made it; these differ:\n" in done.stderr
    assert "  run.seed: 0, got 3\n  update.learning_rate: 0.0001, got 0.001\nSet them back" in done.stderr
    assert (tables(folder), (folder / "params.yaml").read_bytes()) == before
    assert copied.run_folder() == folder  # nor was another begun


def test_mlflow_is_built_again_from_the_store(copied, trained):
    store = copied.store
    before = values_of(trained.store), images_of(trained.store), shown(trained.store)[1].data.params
    (line,) = synced(None)
    evaluations = 3 + len(judged_finally(Run(copied.run_folder())))
    assert line.startswith(f"run {copied.run_folder().name}: 2 rounds and {evaluations} evaluations are in MLflow run ")
    assert steps_of(store)["reward/judge_a/mean"] == [1, 2]
    assert (values_of(store), images_of(store), shown(store)[1].data.params) == before
    steps = steps_of(store)
    assert synced(copied.run_folder().name[:6]) == [line]
    assert steps_of(store) == steps
    assert images_of(store) == before[1]
    assert shown(store)[1].info.status == "FINISHED"


@pytest.mark.slow
def test_fewer_rounds_than_before_are_exported_as_the_run_was_then(copied, trained, tmp_path):
    fewer = ("run.rounds=1", "retention.rounds=1", "evaluate.every=2")  # by which the first policy is let go
    done = copied(*copied.train_command(*fewer)[3:], "--export", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    copy = Run(tmp_path / "out")
    assert verified(str(copy.path)) == f"run {copy.key} is whole: 1 rounds, 4 evaluations"
    policy = "rounds/0000/policy/weights.safetensors"
    assert (copy.path / policy).read_bytes() == (trained.run_folder() / policy).read_bytes()
