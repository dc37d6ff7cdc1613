"""Damage, a full disk and a read-only one, by the real command on a real file system."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass

import pytest
from damage import flip, linked_copy, numbers
from tiny import ROOT, tables
from tracking import steps_of

from flows.upkeep.store_commands import verified
from stages.integrity.verify import verify
from stages.store.run import Run

OLD = "rounds/0000/rewards/part-00000.parquet"
HURT = (
    OLD,
    "rounds/0001/policy/weights.safetensors",
    "evaluations/0002-tuning/pictures/part-00000.parquet",
    "metrics/0001.json",
)
OWN = ("HEAD", "run.json", "params.yaml", "prompts/train/part-00000.parquet", "base/state.json")


pytestmark = pytest.mark.slow


@pytest.fixture
def copied(trained, g2rpo, monkeypatch):
    """The command line on a copy of the trained run."""
    linked_copy(trained.store, g2rpo.store)
    monkeypatch.setenv("G2RPO_HOME", str(g2rpo.store))
    return g2rpo


def is_mended(command, trained):
    ours, theirs = command.run_folder(), trained.run_folder()
    assert verify(Run(ours)) == []
    return tables(ours) == tables(theirs) and numbers(Run(ours)) == numbers(Run(theirs))


def test_damage_is_named_and_the_same_command_mends_what_the_run_needs_and_repair_the_rest(copied, trained):
    folder = copied.run_folder()
    for file in HURT:
        flip(folder / file)
    told = copied("verify", "--run", folder.name)
    assert told.returncode == 2
    assert told.stderr.startswith(f"error: Run {folder.name} must be as it was written, got 4 damaged files")
    assert f"`g2rpo repair --run {folder.name[:8]}` makes them again from their inputs" in told.stderr
    done = copied.train()
    for file in HURT:
        assert f"  {folder / file}: " in told.stderr
        assert f"damaged: {folder / file}: " in done.stderr
    assert "the policy after 2 rounds is made again by the update of its round" in done.stderr
    assert [damage.path for damage in verify(Run(folder))] == [folder / OLD]
    assert json.loads(copied("list", "--json").stdout)[0]["state"] == "finished, 1 damaged"
    mended = copied("repair", "--run", folder.name)
    assert mended.returncode == 0, mended.stderr
    assert mended.stderr.startswith("to make again: score of rounds 0\n")
    assert mended.stdout == f"run {folder.name} is whole again: 1 damaged files or manifests were made again\n"
    assert is_mended(copied, trained)


def test_the_files_of_the_run_itself_are_written_again_by_the_same_command(copied, trained):
    folder = copied.run_folder()
    for file in OWN:
        flip(folder / file)
    with pytest.raises(ValueError, match=r"run\.json: it must be as it was written.*\nRun the command"):
        verified(folder.name)
    done = copied.train()
    assert f"damaged: {folder / 'HEAD'}: " in done.stderr  # the others are written at each start
    assert is_mended(copied, trained)


STORY = """
set -u
train=("$@")
mount -t tmpfs -o size=6m none "$DISK"
full() { head -c "$(( $(df --output=avail -B1 "$DISK" | tail -1) - $1 ))" /dev/zero > "$DISK/ballast"; }
train() { name=$1; shift; "${train[@]}" "$@" 2> "$SAID/$name.err" > /dev/null; echo $? > "$SAID/$name.code"; }
train policy
mount -o remount,size=64m "$DISK"; full 12645000; train table
rm "$DISK/ballast"; mount -o remount,ro "$DISK"; train read_only
mount -o remount,rw "$DISK"; train again
cp -a "$DISK/store" "$SAID/store"
"""
"""A disk that is full at the first policy, of 12.4 MB, then in the round after it, then read-only, then neither."""


@dataclass(frozen=True)
class Said:
    folder: object

    def __call__(self, name):
        code = int((self.folder / f"{name}.code").read_text())
        told = (self.folder / f"{name}.err").read_text()
        assert "Traceback" not in told
        return code, told


@pytest.fixture(scope="module")
def story(trained, tmp_path_factory):
    """What the command said on a disk of its own, in a private namespace of mounts."""
    disk, said = tmp_path_factory.mktemp("disk"), tmp_path_factory.mktemp("said")
    environment = trained.environment | {
        "G2RPO_HOME": str(disk / "store"),
        "PREFECT_HOME": str(said / "prefect"),
        "DISK": str(disk),
        "SAID": str(said),
    }
    private = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    script = ["bash", "-c", STORY, "story", *trained.train_command()]
    subprocess.run([*private, *script], cwd=ROOT, env=environment, check=True, capture_output=True)
    return Said(said)


def test_a_full_disk_stops_a_run_within_a_table_with_path_and_remedy(story):
    code, told = story("table")
    assert code == 2
    assert "/rounds/0001/" in told
    assert ".parquet must be written, got: " in told
    assert "No space left on device" in told
    assert "Finished work is not lost: free some space" in told


def test_a_full_disk_stops_a_run_within_the_policy_with_path_and_remedy(story):
    code, told = story("policy")
    assert code == 2
    assert "/rounds/0000/policy must be written, got: " in told
    assert "No space left on device" in told


def test_a_read_only_store_is_told_with_path_and_remedy(story):
    code, told = story("read_only")
    assert code == 2
    assert "/store/mlflow.db must be writable, got a read-only file system at /" in told
    assert "Make it so, or correct " in told


def test_after_all_that_the_same_command_ends_as_an_undamaged_run(story, trained):
    code, told = story("again")
    assert code == 0, told
    assert "1 of 2 rounds are done" in told
    assert is_mended(type(trained)(story.folder / "store"), trained)


def test_after_all_that_mlflow_shows_each_step_once(story):
    steps = steps_of(story.folder / "store")
    assert steps["reward/judge_a/mean"] == steps["update/kl"] == [1, 2]
    assert steps["held_out/tuning/judge_b"] == [0, 1, 2]
    shutil.rmtree(story.folder / "store")
