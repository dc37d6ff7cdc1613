import pytest
import torch
from tiny import tiny_params

from stages.sources.device import run_device, select_device


@pytest.fixture(params=[True, False], ids=["with a GPU", "without"])
def gpu(request, monkeypatch):
    """Whether torch reports a CUDA device."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param)
    return request.param


def test_auto_takes_a_gpu_where_there_is_one(gpu):
    assert select_device("auto") == torch.device("cuda" if gpu else "cpu")
    assert select_device("cpu") == torch.device("cpu")


def test_a_missing_gpu_is_refused(gpu):
    if gpu:
        assert select_device("cuda") == torch.device("cuda")
    else:
        with pytest.raises(ValueError, match=r"resources.device: cuda needs a CUDA device, got none. Set it to"):
            select_device("cuda")


def test_a_run_computes_on_the_device_of_its_process_or_on_those_of_its_runners(gpu):
    assert run_device(tiny_params("resources.device=auto")) == torch.device("cuda" if gpu else "cpu")
    ray = ("placement.runner=ray", "placement.num_runners=2", "resources.device=auto")
    assert run_device(tiny_params(*ray, "placement.gpus_per_runner=1")) == torch.device("cuda")
    assert run_device(tiny_params(*ray, "placement.gpus_per_runner=0")) == torch.device("cpu")
