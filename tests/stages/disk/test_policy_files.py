import os

import pytest
import torch
from damage import flip
from safetensors import SafetensorError

from g2rpo.trainer import OptimizerSettings, Trainer
from stages.disk import policy_files
from stages.disk.files import StoreWriteError, file_digest
from stages.disk.policy_files import read_optimizer, read_weights, write_policy
from stages.disk.policy_state import policy_state, state_digest


def trained(ema_decay=0.5):
    """A trainer of the weight 1.0 after a step."""
    network = torch.nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(1.0)
    trainer = Trainer(network, OptimizerSettings(0.1, (0.9, 0.999), 0.0, 1.0, ema_decay))
    network.weight.grad = torch.ones_like(network.weight)
    trainer.step()
    return trainer


def test_a_policy_comes_back_as_it_was_trained_and_as_it_is_evaluated(tmp_path):
    trainer = trained()
    write_policy(tmp_path, trainer)
    (weight,) = read_weights(tmp_path, averaged=False).values()
    (average,) = read_weights(tmp_path, averaged=True).values()
    assert weight.item() == pytest.approx(0.9)  # AdamW's first step is the learning rate
    assert average.item() == pytest.approx(0.95)
    moments = read_optimizer(tmp_path)
    assert {name: value.item() for name, value in moments.items()} == {
        name: value.item() for name, value in trainer.state().items()
    }
    assert set(moments) == {"exp_avg.weight", "exp_avg_sq.weight", "ema.weight"}


def test_the_state_says_the_digest_of_each_file_and_the_steps(tmp_path):
    write_policy(tmp_path, trained())
    names = ["average.safetensors", "optimizer.safetensors", "weights.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [*names[:2], "state.json", names[2]]
    state = policy_state(tmp_path)
    assert state.files == {name: file_digest(tmp_path / name) for name in names}
    assert (state.num_steps, state.digest) == (1, state_digest(1, state.files))


def test_without_an_average_the_weights_are_evaluated(tmp_path):
    write_policy(tmp_path, trained(ema_decay=None))
    assert not (tmp_path / "average.safetensors").exists()
    assert read_weights(tmp_path, averaged=True) == read_weights(tmp_path, averaged=False)


def test_one_that_does_not_lead_writes_nothing(tmp_path):
    write_policy(tmp_path / "policy", trained(), leads=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("read", [read_optimizer, lambda folder: read_weights(folder, averaged=False)])
def test_what_was_pruned_or_damaged_is_refused_with_a_remedy(tmp_path, read):
    write_policy(tmp_path, trained())
    for name in ("optimizer.safetensors", "weights.safetensors"):
        flip(tmp_path / name)
    told = r"safetensors must be as it was written, got a damaged or edited file. Run `g2rpo repair"
    with pytest.raises(ValueError, match=told):
        read(tmp_path)
    for name in ("optimizer.safetensors", "weights.safetensors"):
        (tmp_path / name).unlink()
    with pytest.raises(ValueError, match=r"is required, got none in .*: it was pruned or lost. .*`retention.rounds`"):
        read(tmp_path)


def test_a_full_disk_is_reported_with_path_and_remedy_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(policy_files, "save_file", full)
    with pytest.raises(StoreWriteError, match=r"policy must be written, got: I/O error: No space left on device"):
        write_policy(tmp_path / "policy", trained())
    assert list(tmp_path.iterdir()) == []


def test_a_colleague_of_the_group_may_read_a_policy(tmp_path):
    before = os.umask(0o027)
    try:
        write_policy(tmp_path / "policy", trained())
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "policy").iterdir()} == {0o640}
