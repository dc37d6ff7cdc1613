"""The peak memory of a stage: on a GPU what torch allocates there, else that of the process."""

import resource
from pathlib import Path

import torch

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_PEAK = "VmHWM:"


def begin_peak(device: torch.device) -> None:
    """Start a measurement, if the system can reset the peak."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        try:
            _CLEAR.write_text("5", encoding="utf-8")  # Linux: the peak of the resident set starts again
        except OSError:
            return


def peak_bytes(device: torch.device) -> int:
    """Return the peak in bytes since `begin_peak`; on a CPU whose system cannot reset it, since the process began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if _STATUS.is_file():
        (line,) = (line for line in _STATUS.read_text(encoding="utf-8").splitlines() if line.startswith(_PEAK))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
