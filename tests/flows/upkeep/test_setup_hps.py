"""The folder of the package hpsv2: made whole or not at all, kept when it is whole, and its failures with a remedy."""

import hashlib
import json
import os
import stat
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image

from flows.upkeep import setup_hps as module
from flows.upkeep.setup_hps import (
    _check_package,
    _put_in_place,
    _record,
    _required_record,
    _umask,
    setup_hps,
    torchvision_for,
)
from g2rpo.rewards.hps_isolated import ScorerProcessError


@pytest.fixture
def no_trial(monkeypatch):
    monkeypatch.setattr(module, "_check_package", lambda _: None)


class Scoring:
    """Stands in for the process of the package, and gives scores."""

    def __init__(self, *scores):
        self.scores, self.asked, self.closed = list(scores), [], 0

    def __call__(self, **how):
        self.asked.append(how)
        return self

    def score(self, texts, pictures):
        self.asked.append((texts, [Image.open(BytesIO(picture)).getpixel((0, 0)) for picture in pictures]))
        return self.scores

    def close(self):
        self.closed += 1


def wheel(folder, requirement, files=()):
    """A package as pip takes it from a folder."""
    name, version = requirement.split("==")
    version = version.replace("*", "0")
    info = f"{name}-{version}.dist-info"
    files = {f"{name}/__init__.py": b""} | dict(files)
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"]).encode()
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as made:
        for path, content in files.items():
            made.writestr(path, content)


def test_the_folder_is_made_of_the_packages_that_pip_finds_tried_and_put_in_place(tmp_path, monkeypatch):
    more = {
        "hpsv2": {"hpsv2/src/open_clip/__init__.py": b""},
        "torchvision": {"torchvision/_C.so": b"x", "torchvision.libs/libcuda.so": b"x"},
    }
    for requirement in (*module.PACKAGES, torchvision_for(torch.__version__)):
        wheel(tmp_path / "wheels", requirement, more.get(requirement.split("==")[0], {}))
    wheel(tmp_path / "wheels", module.VOCABULARY_PACKAGE, {f"open_clip/{module.VOCABULARY}": b"words"})
    for name, value in {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": tmp_path / "wheels",
        "PIP_CONFIG_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(module, "VOCABULARY_SHA256", hashlib.sha256(b"words").hexdigest())
    monkeypatch.setattr(module, "ScorerProcess", scoring := Scoring(0.25))
    folder = tmp_path / "below" / "hps"
    assert setup_hps(folder) == f"{folder} is made: hpsv2 1.2.0 builds its model and scores"
    names = {path.name for path in folder.iterdir()}
    assert {"hpsv2", "torchvision", "clint", "args", "ftfy", "wcwidth", "hpsv2-1.2.0.dist-info", "setup.json"} <= names
    assert "torchvision.libs" not in names
    assert sorted(path.name for path in (folder / "torchvision").iterdir()) == ["__init__.py"]
    assert (folder / "hpsv2/src/open_clip" / module.VOCABULARY).read_bytes() == b"words"
    assert json.loads((folder / "setup.json").read_text()) == _required_record()
    assert [path.name for path in folder.parent.iterdir()] == ["hps"]
    monkeypatch.setattr(module, "_pip", lambda *_: pytest.fail("pip was called"))
    assert setup_hps(folder) == f"{folder} is complete: hpsv2 1.2.0 builds its model and scores"
    assert [how["folder"].name[:4] for how in scoring.asked[::2]] == [".hps", "hps"]


def test_a_folder_is_made_for_this_python_torch_and_platform(monkeypatch):
    monkeypatch.setattr(module.torch, "__version__", "2.13.0+cpu")
    assert _required_record() == {
        "packages": [
            "hpsv2==1.2.0",
            "clint==0.5.1",
            "args==0.1.0",
            "ftfy==6.3.1",
            "wcwidth==0.9.4",
            "torchvision==0.28.*",
        ],
        "vocabulary": module.VOCABULARY_SHA256,
        "python": "{}.{}".format(*sys.version_info),
        "platform": sys.platform,
    }


def test_a_folder_is_tried_with_a_small_model_and_a_red_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ScorerProcess", scoring := Scoring(-1.0))
    _check_package(tmp_path)
    how, (texts, colours) = scoring.asked
    assert (how["folder"], how["weights"], how["device"]) == (tmp_path, None, "cpu")
    assert (texts, colours) == (["a red picture"], [(255, 0, 0)])
    assert scoring.closed == 1


@pytest.mark.parametrize("scores", [(), (0.1, 0.2), (1.5,), (float("nan"),)])
def test_a_folder_that_gives_no_cosine_is_refused(tmp_path, monkeypatch, scores):
    monkeypatch.setattr(module, "ScorerProcess", Scoring(*scores))
    with pytest.raises(
        ValueError, match=r"hpsv2 must give a cosine, got \[.*\] in .*Delete the folder and make it again"
    ):
        _check_package(tmp_path)


def test_a_record_that_is_not_there_or_no_json_is_none(tmp_path):
    assert _record(tmp_path) is None
    (tmp_path / "setup.json").write_text("{")
    assert _record(tmp_path) is None
    (tmp_path / "setup.json").write_text('{"python": "3.0"}')
    assert _record(tmp_path) == {"python": "3.0"}


def test_a_folder_in_place_has_the_rights_that_others_have_under_this_umask(tmp_path):
    made = tmp_path / "made"
    made.mkdir(0o700)
    before = os.umask(0o027)
    try:
        assert _umask() == 0o027
        assert _umask() == 0o027  # it stays
        _put_in_place(made, tmp_path / "hps", {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "hps").stat().st_mode) == 0o750


def test_a_folder_made_for_another_torch_is_replaced_whole(tmp_path, no_trial, monkeypatch):
    folder = tmp_path / "hps"
    (folder / "hpsv2").mkdir(parents=True)
    (folder / "setup.json").write_text(json.dumps(_required_record() | {"python": "3.0"}))
    monkeypatch.setattr(module, "_fill", _fill)
    assert setup_hps(folder) == f"{folder} is made: hpsv2 1.2.0 builds its model and scores"
    assert [path.name for path in folder.iterdir()] == ["setup.json"]
    assert [path.name for path in folder.parent.iterdir()] == ["hps"]


def test_nothing_is_left_of_a_folder_that_could_not_be_made(tmp_path, monkeypatch):
    def refuse(_):
        raise ScorerProcessError("it ended with exit code 1")

    monkeypatch.setattr(module, "_fill", _fill)
    monkeypatch.setattr(module, "ScorerProcess", lambda **_: refuse(None))
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
