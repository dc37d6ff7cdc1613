import os
from types import SimpleNamespace

import torch
from tiny import tiny_params

from flows.doctor.check import Check
from flows.doctor.machine import device, disk


def test_a_card_that_is_asked_for_and_is_not_there_is_a_fault_and_auto_takes_the_cpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.version.cuda", None)
    (fault,) = device(tiny_params("resources.device=cuda"))
    assert (fault.name, fault.state) == ("device", "fault")
    told = f"resources.device is cuda, got no CUDA device: torch {torch.__version__} is built without CUDA"
    assert fault.message == told
    assert "set resources.device to auto or cpu" in fault.remedy
    cpu = Check("device", "ok", f"CPU, {os.cpu_count()} cores, torch {torch.__version__}")
    assert list(device(tiny_params("resources.device=auto"))) == [cpu]


def test_a_torch_that_is_built_for_cuda_is_told_so_where_there_is_no_card(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.version.cuda", "13.0")
    (fault,) = device(tiny_params("resources.device=cuda"))
    assert fault.message.endswith("is built for CUDA 13.0")


def test_each_card_is_told_with_its_memory(monkeypatch):
    cards = [SimpleNamespace(name="H200", total_memory=143_400_000_000), SimpleNamespace(name="L4", total_memory=24e9)]
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_properties", cards.__getitem__)
    told = [f"H200, 143 GB, torch {torch.__version__}", f"L4, 24 GB, torch {torch.__version__}"]
    assert list(device(tiny_params())) == [Check("device", "ok", one) for one in told]


def test_a_store_that_can_be_written_to_has_hard_links_and_nothing_is_left_in_it(store):
    links, room = disk(tiny_params())
    assert links == Check("store", "ok", f"{store} can be written to and has hard links")
    assert (room.name, room.state) == ("disk", "ok")
    assert room.message.endswith(f" GB are free for {store}")
    assert list(store.iterdir()) == []


def test_a_disk_with_less_than_the_guard_asks_for_is_a_fault(store):
    fault = list(disk(tiny_params("guards.disk.free_gb=1e9")))[-1]
    assert (fault.name, fault.state) == ("disk", "fault")
    assert f"for {store}, guards.disk requires 1e+09" in fault.message
    assert "g2rpo prune" in fault.remedy
    assert "G2RPO_HOME" in fault.remedy


def test_a_store_that_cannot_be_written_to_is_the_only_thing_told(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path / "file" / "store"))
    (fault,) = disk(tiny_params())
    assert (fault.name, fault.state) == ("store", "fault")
    assert f"{tmp_path / 'file' / 'store'} cannot be written to" in fault.message
    assert fault.remedy == "Set G2RPO_HOME to a folder that you own."


def test_a_file_system_without_hard_links_is_warned_of(store, monkeypatch):
    def refuse(*_):
        raise OSError("not supported")

    monkeypatch.setattr("os.link", refuse)
    warning = next(disk(tiny_params()))
    assert (warning.name, warning.state) == ("links", "warn")
    assert warning.message == f"{store} has no hard links: exports and rollbacks are copies"
    assert "take twice the space" in warning.remedy
