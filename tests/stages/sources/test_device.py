import pytest
import torch
from tiny import tiny_params

from stages.sources.device import chosen_device, run_device


@pytest.fixture(params=[True, False], ids=["with a card", "without"])
def card(request, monkeypatch):
    """Whether torch says that there is a CUDA device."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param)
    return request.param


def test_auto_takes_a_card_where_there_is_one(card):
    assert chosen_device("auto") == torch.device("cuda" if card else "cpu")
    assert chosen_device("cpu") == torch.device("cpu")


def test_a_card_that_is_not_there_is_refused(card):
    if card:
        assert chosen_device("cuda") == torch.device("cuda")
    else:
        with pytest.raises(ValueError, match=r"resources.device: cuda needs a CUDA device, got none. Set it to"):
            chosen_device("cuda")


def test_a_run_computes_on_the_device_of_its_process_or_on_those_of_its_runners(card):
    assert run_device(tiny_params("resources.device=auto")) == torch.device("cuda" if card else "cpu")
    ray = ("placement.runner=ray", "placement.num_runners=2", "resources.device=auto")
    assert run_device(tiny_params(*ray, "placement.gpus_per_runner=1")) == torch.device("cuda")
    assert run_device(tiny_params(*ray, "placement.gpus_per_runner=0")) == torch.device("cpu")
