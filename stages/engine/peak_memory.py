"""The most memory that a stage takes: on a GPU what torch allocates there, else of the process."""

import resource
from pathlib import Path

import torch

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_PEAK = "VmHWM:"


def begin_peak(device: torch.device) -> None:
    """Begin to watch, where the system lets the process begin anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        try:
            _CLEAR.write_text("5")  # Linux: the peak of the resident set starts again
        except OSError:
            return


def peak_bytes(device: torch.device) -> int:
    """Return the most bytes since `begin_peak`; on the CPU, where that could not begin, since the process began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if _STATUS.is_file():
        (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith(_PEAK))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
