"""A description of this machine."""

import os
import platform
from functools import cache
from pathlib import Path


@cache
def machine() -> str:
    """Return processor, cores and system. Example: `Intel(R) Xeon(R) Platinum 8481C, 2 cores, Linux 6.1`."""
    return f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
