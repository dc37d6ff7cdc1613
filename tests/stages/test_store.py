import subprocess
import sys

import pytest
from tiny import ROOT, tiny_params

from stages.store import find_run, fingerprint, open_run


def key(*overrides, base="b", device="cpu"):
    return fingerprint(tiny_params(*overrides), base, device)


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


def test_other_weights_and_another_kind_of_device_change_the_key():
    assert len({key(), key(base="c"), key(device="cuda")}) == 3


@pytest.mark.parametrize(
    "override", ["run.rounds=99", "evaluate.every=3", "report.num_noises=2", "tracking.experiment=x"]
)
def test_more_rounds_evaluation_and_tracking_go_on_with_the_same_run(override):
    assert key(override) == key()


def test_a_run_is_found_by_the_beginning_of_its_key():
    run = open_run(tiny_params(), base_digest="b", device="cpu", created={})
    assert find_run(run.key[:6]).path == run.path
    assert find_run(run.key).params() == tiny_params()


def test_a_key_that_names_no_run_or_several_is_refused():
    keys = [open_run(tiny_params(f"run.seed={s}"), base_digest="b", device="cpu", created={}).key for s in (1, 2)]
    with pytest.raises(ValueError, match=f"got 0. Here: {min(keys)}, {max(keys)}"):
        find_run("nothing")
    with pytest.raises(ValueError, match="got 2"):
        find_run("")


def test_a_second_process_is_refused_with_the_id_of_the_first(store):
    run = open_run(tiny_params(), base_digest="b", device="cpu", created={})
    hold = (
        "import time; from stages.store import find_run\n"
        f"with find_run('{run.key}').locked():\n    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, cwd=ROOT) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ValueError, match=f"held by process {holder.pid}. Wait"), run.locked():
            pass
        holder.kill()
    with run.locked():  # a lock dies with its holder
        pass


def test_head_moves_with_the_rounds():
    run = open_run(tiny_params(), base_digest="b", device="cpu", created={})
    assert run.num_finished == 0
    for number in range(2):
        run.write_metrics(number, {"round": number + 1.0})
        run.finish_round(number)
    assert run.num_finished == 2
    assert [row["round"] for row in run.metrics()] == [1.0, 2.0]
