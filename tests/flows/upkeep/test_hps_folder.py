"""The folder of the package hpsv2 as PyPI gives it: what is in it, and that the package runs from it."""

import hashlib
import shutil

import pytest
from hps_folder import shared_hps_folder

from flows.upkeep import setup_hps as module
from flows.upkeep.setup_hps import setup_hps


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    return shared_hps_folder(tmp_path_factory)


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "hps")


def test_the_folder_has_the_package_the_vocabulary_and_no_compiled_operators(made):
    vocabulary = made / "hpsv2/src/open_clip/bpe_simple_vocab_16e6.txt.gz"
    assert hashlib.sha256(vocabulary.read_bytes()).hexdigest() == module.VOCABULARY_SHA256
    assert {"hpsv2-1.2.0.dist-info", "torchvision", "ftfy", "clint"} <= {path.name for path in made.iterdir()}
    assert list(made.glob("torchvision*/**/*.so*")) == []
    assert not [path.name for path in made.iterdir() if path.name in ("torch", "google", "pytest", "numpy", "PIL")]


@pytest.mark.slow
def test_a_whole_folder_is_kept_and_tried(folder, monkeypatch):
    monkeypatch.setattr(module, "_pip", lambda *_: pytest.fail("pip was called"))
    assert setup_hps(folder) == f"{folder} is complete: hpsv2 1.2.0 builds its model and scores"


@pytest.mark.slow
def test_a_damaged_folder_is_told_by_the_trial(folder):
    (folder / "hpsv2/src/open_clip/bpe_simple_vocab_16e6.txt.gz").unlink()
    with pytest.raises(ValueError, match=r"bpe_simple_vocab(.|\n)*Delete the folder"):
        setup_hps(folder)
