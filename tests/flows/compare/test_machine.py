"""The description of this machine."""

import os
import platform
from pathlib import Path

from flows.compare.machine import machine


def test_a_machine_is_told_by_its_processor_its_cores_and_its_system():
    processor, cores, system = machine().rsplit(", ", 2)
    told = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    known = told if "model name" in told else f"{platform.processor()} {platform.machine()}"
    assert processor
    assert processor in known
    assert cores == f"{os.cpu_count()} cores"
    assert system == f"{platform.system()} {platform.release()}"
