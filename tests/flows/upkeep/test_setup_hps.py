"""The folder of the package hpsv2: made whole or not at all, kept when it is whole, and its failures with a remedy."""

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hps_folder import shared_hps_folder

from flows.upkeep import setup_hps as module
from flows.upkeep.setup_hps import setup_hps, torchvision_for
from g2rpo.rewards.hps_isolated import WorkerError


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    return shared_hps_folder(tmp_path_factory)


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "hps")


@pytest.fixture
def no_trial(monkeypatch):
    monkeypatch.setattr(module, "_try_out", lambda _: None)


def test_the_folder_has_the_package_the_vocabulary_and_no_compiled_operators(made):
    vocabulary = made / "hpsv2/src/open_clip/bpe_simple_vocab_16e6.txt.gz"
    assert hashlib.sha256(vocabulary.read_bytes()).hexdigest() == module.VOCABULARY_SHA256
    assert {"hpsv2-1.2.0.dist-info", "torchvision", "ftfy", "clint"} <= {path.name for path in made.iterdir()}
    assert list(made.glob("torchvision*/**/*.so*")) == []
    assert not [path.name for path in made.iterdir() if path.name in ("torch", "google", "pytest", "numpy", "PIL")]


def test_a_whole_folder_is_kept_and_tried(folder, monkeypatch):
    monkeypatch.setattr(module, "_pip", lambda *_: pytest.fail("pip was called"))
    assert setup_hps(folder) == f"{folder} is whole: hpsv2 1.2.0 builds its model and scores"


def test_a_damaged_folder_is_told_by_the_trial(folder):
    (folder / "hpsv2/src/open_clip/bpe_simple_vocab_16e6.txt.gz").unlink()
    with pytest.raises(ValueError, match=r"bpe_simple_vocab(.|\n)*Delete the folder"):
        setup_hps(folder)


def test_a_folder_made_for_another_torch_is_replaced_whole(folder, no_trial, monkeypatch):
    record = json.loads((folder / "setup.json").read_text())
    (folder / "setup.json").write_text(json.dumps(record | {"python": "3.0"}))
    monkeypatch.setattr(module, "_fill", _fill)
    assert setup_hps(folder) == f"{folder} is made: hpsv2 1.2.0 builds its model and scores"
    assert [path.name for path in folder.iterdir()] == ["setup.json"]
    assert [path.name for path in folder.parent.iterdir()] == ["hps"]


def test_nothing_is_left_of_a_folder_that_could_not_be_made(tmp_path, monkeypatch):
    def refuse(_):
        raise WorkerError("it ended with exit code 1")

    monkeypatch.setattr(module, "_fill", _fill)
    monkeypatch.setattr(module, "Worker", lambda **_: refuse(None))
    with pytest.raises(ValueError, match="must build its model.*exit code 1"):
        setup_hps(tmp_path / "hps")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_things_is_refused_and_left(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="holds other things"):
        setup_hps(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_two_that_are_made_at_once_leave_one_whole(tmp_path, no_trial, monkeypatch):
    def fill_twice(made, wanted):
        _fill(made, wanted)
        monkeypatch.setattr(module, "_fill", _fill)
        setup_hps(tmp_path / "hps")

    monkeypatch.setattr(module, "_fill", fill_twice)
    setup_hps(tmp_path / "hps")
    assert [path.name for path in tmp_path.iterdir()] == ["hps"]


def test_without_network_it_says_what_to_do(tmp_path, monkeypatch):
    for name, value in {
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_RETRIES": "0",
        "PIP_NO_CACHE_DIR": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=r"needs packages from PyPI, got from pip install(.|\n)*PIP_INDEX_URL"):
        setup_hps(tmp_path / "hps")
    assert list(tmp_path.iterdir()) == []


def test_without_pip_it_says_what_to_do(tmp_path, monkeypatch):
    done = subprocess.CompletedProcess([], 1, "", f"{sys.executable}: No module named pip\n")
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: done)
    with pytest.raises(ValueError, match="python -m ensurepip"):
        setup_hps(tmp_path / "hps")


def test_a_vocabulary_that_is_not_the_published_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "VOCABULARY_SHA256", "0" * 64)
    monkeypatch.setattr(module, "_pip", _wheel_with(b"other words"))
    with pytest.raises(ValueError, match=r"must have sha256 0000.*got [0-9a-f]{64}"):
        module._vocabulary()


@pytest.mark.parametrize(
    ("torch", "torchvision"), [("2.13.0+cpu", "0.28"), ("2.11.1", "0.26"), ("2.9.0+cu130", "0.24")]
)
def test_torchvision_follows_torch(torch, torchvision):
    assert torchvision_for(torch) == f"torchvision=={torchvision}.*"


def test_a_torch_of_another_series_is_refused():
    with pytest.raises(ValueError, match="needs a torch 2, got 3.0.1.*backend: clip"):
        torchvision_for("3.0.1")


def _fill(folder, wanted):
    (folder / "setup.json").write_text(json.dumps(wanted))


def _wheel_with(content):
    def pip(*words):
        with zipfile.ZipFile(Path(words[words.index("--dest") + 1]) / "open_clip.whl", "w") as wheel:
            wheel.writestr("open_clip/bpe_simple_vocab_16e6.txt.gz", content)

    return pip
