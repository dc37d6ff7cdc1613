import shutil
import socket
import subprocess
import sys

import pytest
from safetensors.torch import load_file, save_file
from tiny import ROOT, tiny_params

from g2rpo.shapes.shipped import shipped_base
from stages.store.fingerprint import Fingerprint
from stages.store.run import find_run, open_run
from stages.texts.lists import with_prompts, write_prompt_lists


def key(*overrides, device="cpu"):
    return Fingerprint.of(tiny_params(*overrides), device).key


@pytest.mark.parametrize(
    "override",
    [
        "run.seed=1",
        "update.learning_rate=1e-5",
        "rollout.eta=0.5",
        "resources.threads=2",
        "complete.micro_batch=7",
        "integrate.clamp=4",
        "prompts.shard_size=4",
    ],
)
def test_what_changes_the_numbers_changes_the_key(override):
    assert key(override) != key()


def test_another_kind_of_device_changes_the_key():
    assert key(device="cuda") != key()


def test_other_weights_change_the_key_but_not_where_they_lie(tmp_path):
    copy, moved = tmp_path / "copy", tmp_path / "moved"
    for folder in (copy, moved):
        shutil.copytree(shipped_base(), folder)
    assert key(f"policy.path={copy}") == key(f"policy.path={moved}") == key()
    words = copy / "words.safetensors"
    save_file({name: tensor * 2 for name, tensor in load_file(words).items()}, words)
    assert key(f"policy.path={copy}") != key()


def test_another_list_of_prompts_changes_the_key_but_not_where_it_lies(tmp_path):
    params = tiny_params()
    write_prompt_lists(params, tmp_path)
    assert key(f"prompts.path={tmp_path}") == key()
    shutil.rmtree(tmp_path / "train")
    shutil.copytree(tmp_path / "tuning", tmp_path / "train")
    assert key(f"prompts.path={tmp_path}") != key()


@pytest.mark.parametrize(
    "override",
    ["run.rounds=99", "evaluate.every=3", "report.num_noises=2", "retention.rounds=1", "tracking.uri=x"],
)
def test_more_rounds_evaluation_and_tracking_go_on_with_the_same_run(override):
    assert key(override) == key()


def test_a_run_is_found_by_the_beginning_of_its_key():
    run = open_run(tiny_params(), device="cpu")
    assert find_run(run.key[:6]).path == run.path
    assert find_run(run.key).params() == with_prompts(tiny_params(), run.prompts)


def test_the_run_that_was_begun_last_is_the_newest():
    with pytest.raises(ValueError, match="A run is required, got an empty store. Train one first"):
        find_run("newest")
    runs = [open_run(tiny_params(f"run.seed={seed}"), device="cpu") for seed in (1, 2, 3)]
    assert find_run("newest").path == runs[-1].path


def test_a_key_that_names_no_run_or_several_is_refused():
    keys = [open_run(tiny_params(f"run.seed={s}"), device="cpu").key for s in (1, 2)]
    with pytest.raises(ValueError, match=f"got 0. Here: {min(keys)}, {max(keys)}"):
        find_run("nothing")
    with pytest.raises(ValueError, match="At least 4 characters of a run's key are required, got ''"):
        find_run("")


def test_a_second_process_is_refused_with_the_id_of_the_first(store):
    run = open_run(tiny_params(), device="cpu")
    hold = (
        "import time; from stages.store.run import find_run\n"
        f"with find_run('{run.key}').locked():\n    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, cwd=ROOT) as holder:
        assert holder.stdout.readline() == b"held\n"
        told = f"held by process {holder.pid} of {socket.gethostname()}. Wait"
        with pytest.raises(ValueError, match=told), run.locked():
            pass
        holder.kill()
    with run.locked():  # a lock dies with its holder
        pass


def test_head_moves_with_the_rounds():
    run = open_run(tiny_params(), device="cpu")
    assert run.num_finished == 0
    for number in range(2):
        run.write_metrics(number, {"round": number + 1.0})
        run.finish_round(number)
    assert run.num_finished == 2
    assert [row["round"] for row in run.metrics()] == [1.0, 2.0]
