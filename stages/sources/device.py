"""The device of the computation."""

import torch

from stages.params.record import Params


def select_device(wanted: str) -> torch.device:
    """Return the device that params.yaml names; `auto`: CUDA if available, else the CPU.

    Raises:
        ValueError: If it is not available.
    """
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise ValueError("resources.device: cuda needs a CUDA device, got none. Set it to auto or cpu.")
    return torch.device("cuda" if available and wanted != "cpu" else "cpu")


def run_device(params: Params) -> torch.device:
    """Return the device of a run: this process's, or that of its runners, which this machine need not have.

    Raises:
        ValueError: If it is not available.
    """
    if params.placement.runner == "local":
        return select_device(params.resources.device)
    return torch.device("cuda" if params.placement.gpus_per_runner else "cpu")
