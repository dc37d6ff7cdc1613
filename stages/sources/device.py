"""What the networks compute on."""

import torch

from stages.params.record import Params


def chosen_device(wanted: str) -> torch.device:
    """Return the device that params.yaml asks for; `auto` takes CUDA where there is one.

    Raises:
        ValueError: If it is not there.
    """
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise ValueError("resources.device: cuda needs a CUDA device, got none. Set it to auto or cpu.")
    return torch.device("cuda" if there and wanted != "cpu" else "cpu")


def run_device(params: Params) -> torch.device:
    """Return the device of a run: this process's, or that of its runners, which this machine need not have.

    Raises:
        ValueError: If it is not there.
    """
    if params.placement.runner == "local":
        return chosen_device(params.resources.device)
    return torch.device("cuda" if params.placement.gpus_per_runner else "cpu")
