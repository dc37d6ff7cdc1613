"""Digests of weights and data, and the machine that floating-point results depend on."""

import hashlib
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def digest_bytes(parts: Iterable[bytes]) -> str:
    """Return the SHA-256 of the parts in order, as 64 hexadecimal digits."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()


def digest_state(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names, shapes and fp32 values of a state dict, in the order of the names."""
    parts: list[bytes] = []
    for name in sorted(state):
        tensor = state[name].detach().float().cpu().contiguous()
        parts += [f"{name}{tuple(tensor.shape)}".encode(), tensor.numpy().tobytes()]
    return digest_bytes(parts)


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fingerprint() -> dict[str, str | int]:
    """Return what the last bits of a result depend on; where two fingerprints are equal, bits should be too.

    Example: `{"torch": "2.13.0+cpu", "numpy": "2.4.6", "capability": "AVX512", "cpu": "...", "threads": 2}`.
    """
    return {
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cpu": _cpu(),
        "threads": torch.get_num_threads(),
    }


def _cpu() -> str:
    file = Path("/proc/cpuinfo")
    if not file.is_file():
        return platform.processor() or platform.machine()
    keys = ("cpu family", "model", "model name", "stepping", "cache size")
    pairs = (
        line.split(":", 1) for line in file.read_text(encoding="utf-8").split("\n\n")[0].splitlines() if ":" in line
    )
    values = {key.strip(): value.strip() for key, value in pairs}
    return ", ".join(f"{key} {values[key]}" for key in keys if key in values)
