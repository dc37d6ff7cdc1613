"""The peak of memory of this process, which a large block of bytes raises."""

import os
from pathlib import Path

import pytest
import torch

from stages.engine import peak_memory
from stages.engine.peak_memory import begin_peak, peak_bytes

CPU, BLOCK = torch.device("cpu"), 200 * 2**20
clears = pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the system begins no peak anew")


@clears
def test_a_peak_holds_what_was_freed_and_ends_when_another_begins():
    begin_peak(CPU)
    before = peak_bytes(CPU)
    block = bytearray(os.urandom(2**20)) * 200
    del block
    reached = peak_bytes(CPU)
    assert reached > before + BLOCK * 0.9
    begin_peak(CPU)
    assert peak_bytes(CPU) < reached - BLOCK * 0.5


def test_where_no_peak_can_begin_the_one_of_the_whole_process_stays(monkeypatch, tmp_path):
    monkeypatch.setattr(peak_memory, "_CLEAR", tmp_path)
    before = peak_bytes(CPU)
    begin_peak(CPU)
    assert peak_bytes(CPU) >= before > 50 * 2**20


def test_a_system_without_proc_says_the_most_of_the_process(monkeypatch, tmp_path):
    monkeypatch.setattr(peak_memory, "_STATUS", tmp_path / "nothing")
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert peak_bytes(CPU) > resident * 0.9


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_it_is_what_torch_allocates_there():
    device = torch.device("cuda")
    block = torch.empty(BLOCK, dtype=torch.uint8, device=device)
    del block
    reached = peak_bytes(device)
    assert reached >= BLOCK
    begin_peak(device)
    assert peak_bytes(device) <= reached - BLOCK
