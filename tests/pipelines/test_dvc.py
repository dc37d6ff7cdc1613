import json
import os
import shutil
import signal
import subprocess

import pytest
import yaml
from mlflow.tracking import MlflowClient
from tiny import tables
from waiting import wait_for

from stages.integrity.verify import verify
from stages.store.run import Run

pytestmark = pytest.mark.slow

CACHED = "Stage 'train' is cached - skipping run, checking out outputs"


def stored(repository):
    """The runs of a repository's store, the one made last at the end."""
    return [Run(path) for path in sorted((repository.store / "runs").iterdir(), key=lambda path: path.stat().st_ctime)]


def test_repro_leaves_a_whole_run_metrics_plots_and_a_model_and_then_has_nothing_to_do(reproduced):
    out = reproduced.path / "outputs"
    assert verify(Run(out / "run")) == []
    assert set(json.loads((out / "evaluation/metrics.json").read_text())["aligned"]) >= {"judge_a", "rule_strict"}
    assert {path.name for path in (out / "report").iterdir()} >= {"report.html", "rounds.csv", "before_after.png"}
    assert (out / "policy/transformer/config.json").is_file()
    assert "up to date" in reproduced.dvc("repro")
    assert reproduced.git("status", "--porcelain") == ""


def test_store_outputs_and_cache_share_the_bytes(reproduced):
    (run,) = stored(reproduced)
    for path in (run.path / "rounds").rglob("*.safetensors"):
        copy = reproduced.path / "outputs/run" / path.relative_to(run.path)
        assert copy.stat().st_ino == path.stat().st_ino
        assert path.stat().st_nlink == 3


def test_the_saved_policy_is_a_base_to_start_from(reproduced):
    said = reproduced.g2rpo("train", "--set", "policy.path=outputs/policy", "--set", "run.rounds=1", G2RPO_HOME="other")
    assert "is done" in said


def test_another_learning_rate_starts_afresh_and_the_former_comes_from_the_run_cache(repository):
    repository.set(update__learning_rate=2e-4)
    assert "0 of 2 rounds are done" in repository.dvc("repro", "train")
    repository.set(update__learning_rate=1e-4)
    said = repository.dvc("repro")
    assert CACHED in said
    assert "rounds are done" not in said
    assert repository.git("status", "--porcelain", "dvc.lock") == ""


def test_more_rounds_go_on_where_the_run_stopped(repository):
    repository.set(run__rounds=3)
    assert "2 of 3 rounds are done" in repository.dvc("repro", "train")
    assert Run(repository.path / "outputs/run").num_finished == 3


def test_a_wiped_store_and_outputs_come_back_from_the_cache_and_the_run_goes_on(repository):
    repository.wipe()
    said = repository.dvc("repro")
    assert CACHED in said
    assert "rounds are done" not in said
    assert "with 2 rounds" in repository.g2rpo("adopt")
    repository.set(run__rounds=3)
    assert "2 of 3 rounds are done" in repository.dvc("repro", "train")


def test_a_killed_experiment_goes_on_in_another_workspace(repository):
    words = ["dvc", "exp", "run", "--temp", "train", "-S", "run.rounds=4"]
    (run,) = stored(repository)
    killed = subprocess.Popen(
        words, cwd=repository.path, env=repository.environment, stdout=subprocess.DEVNULL, start_new_session=True
    )
    wait_for((run.round_folder(2) / "score.json").exists)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    rounds = run.num_finished
    assert rounds in (2, 3)
    said = repository.run(*words)
    assert f"{rounds} of 4 rounds are done" in said
    assert run.num_finished == 4
    assert verify(run) == []
    repository.g2rpo(
        "train", "--set", "run.rounds=4", "--no-final", G2RPO_HOME=str(repository.path.parent / "straight")
    )
    straight = repository.path.parent / "straight/runs" / run.key
    assert tables(run.path) == tables(straight)


def test_an_experiment_is_known_by_its_ids_everywhere(repository):
    repository.dvc("exp", "run", "train", "-n", "brave-clamp", "-S", "integrate.clamp=2.0")
    links = stored(repository)[-1].links
    baseline = repository.git("rev-parse", "HEAD")
    assert links["dvc_experiment"] == "brave-clamp"
    assert links["dvc_baseline"] == links["git_commit"] == baseline
    client = MlflowClient(tracking_uri=f"sqlite:///{repository.store / 'mlflow.db'}")
    tags = client.get_run(links["mlflow_run_id"]).data.tags
    assert tags["g2rpo.dvc_experiment"] == "brave-clamp"
    assert tags["g2rpo.dvc_baseline"] == tags["mlflow.source.git.commit"] == baseline
    assert tags["g2rpo.git_dirty"] == links["git_dirty"]


def test_queued_experiments_run_and_are_compared(repository):
    repository.dvc("exp", "run", "--queue", "-n", "fine", "-S", "complete.granularities=[1]", "-S", "run.rounds=1")
    assert "fine" in repository.dvc("queue", "status")
    repository.dvc("exp", "run", "--run-all")
    assert "Success" in repository.dvc("queue", "status")
    table = repository.dvc("exp", "show", "--csv")
    (row,) = [line for line in table.splitlines() if line.startswith("fine,")]
    assert "[1]" in row
    (changed,) = json.loads(repository.dvc("metrics", "diff", "--json", "HEAD", "fine")).values()
    assert changed["rounds"] == {"old": 2, "new": 1, "diff": -1}
    assert {"aligned.judge_a", "aligned.judge_b", "evaluations"} <= set(changed)
    repository.dvc("plots", "diff", "HEAD", "fine", "-o", "plots")
    page = (repository.path / "plots/index.html").read_text()
    assert all(title in page for title in ("trained reward", "held-out rewards", "strict accuracy", "KL to the base"))
    assert list((repository.path / "plots/static").glob("fine_*before_after.png"))
    repository.dvc("exp", "apply", "fine")
    assert yaml.safe_load((repository.path / "params.yaml").read_text())["complete"]["granularities"] == [1]
    assert Run(repository.path / "outputs/run").num_finished == 1


def test_a_pushed_run_is_pulled_into_a_fresh_clone_verified_and_continued(repository, s3):
    repository.environment |= s3
    repository.dvc("remote", "add", "-d", "s3", "s3://runs/g2rpo")
    repository.dvc("push")
    repository.git("commit", "-qam", "remote")
    clone = repository.path.parent / "clone"
    repository.git("clone", "-q", str(repository.path), str(clone))
    fresh = type(repository)(clone)
    fresh.environment |= s3
    fresh.dvc("pull")
    assert "is whole: 2 rounds" in fresh.g2rpo("verify", "--run", "outputs/run")
    assert "2 of 3 rounds are done" in fresh.g2rpo("train", "--set", "run.rounds=3")
    shutil.rmtree(fresh.store)
    assert "2 of 3 rounds are done" in fresh.g2rpo("train", "--run", "outputs/run", "--set", "run.rounds=3")
