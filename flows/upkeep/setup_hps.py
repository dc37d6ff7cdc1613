"""The folder of the package hpsv2, from which the backend `hpsv2` of the reward HPS runs.

hpsv2 1.2.0 asks for protobuf < 4, pytest 7.2.0 and a torchvision that brings its own torch, and does not contain a
file that it reads when imported. So we install it without its dependencies into a separate folder, take the vocabulary
from open_clip, whose tokenizer it copied, and delete the compiled operators of torchvision: hpsv2 uses none of them,
and they fit one build of CUDA only.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image

from g2rpo.rewards.hps_isolated import ScorerProcess, ScorerProcessError

PACKAGES = ("hpsv2==1.2.0", "clint==0.5.1", "args==0.1.0", "ftfy==6.3.1", "wcwidth==0.9.4")
VOCABULARY_PACKAGE = "open_clip_torch==3.3.0"
VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
VOCABULARY_SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
RECORD = "setup.json"
_SMALL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 28, "layers": 1, "width": 32, "head_width": 16, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}


def setup_hps(folder: Path) -> str:
    """Create the folder atomically, test it, and return a line for the user.

    An existing folder for this Python and torch is tested and kept; one for other versions is replaced. It downloads
    about 24 MB from PyPI, or from the index that pip is configured with.

    Raises:
        ValueError: If the folder holds something else, a package cannot be fetched, or the model cannot be built.
    """
    folder = folder.absolute()
    required = _required_record()
    if _record(folder) == required:
        _check_package(folder)
        return f"{folder} is complete: hpsv2 1.2.0 builds its model and scores"
    if folder.exists() and _record(folder) is None and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            f"The folder for hpsv2 must be new, empty, or made by this command, got {folder}, which holds other "
            "things. Use another --folder."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _fill(made, required)
        _check_package(made)
        _put_in_place(made, folder, required)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return f"{folder} is made: hpsv2 1.2.0 builds its model and scores"


def torchvision_for(version: str) -> str:
    """Return the torchvision that was released with a torch: 0.28.* with 2.13.

    Raises:
        ValueError: If the torch is not of the 2 series.
    """
    major, minor = version.split(".")[:2]
    if major != "2":
        raise ValueError(f"The backend hpsv2 needs a torch 2, got {version}. Use `backend: clip`.")
    return f"torchvision==0.{int(minor) + 15}.*"


def _required_record() -> dict[str, object]:
    """Return the folder's packages, and the Python and torch that it is for; others need another folder."""
    return {
        "packages": [*PACKAGES, torchvision_for(torch.__version__)],
        "vocabulary": VOCABULARY_SHA256,
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "platform": sys.platform,
    }


def _record(folder: Path) -> object:
    try:
        return json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _fill(folder: Path, required: dict[str, object]) -> None:
    _pip("install", "--no-deps", "--no-compile", "--target", str(folder), *PACKAGES, torchvision_for(torch.__version__))
    for library in (folder / "torchvision").glob("*.so"):
        library.unlink()
    shutil.rmtree(folder / "torchvision.libs", ignore_errors=True)
    (folder / "hpsv2" / "src" / "open_clip" / VOCABULARY).write_bytes(_vocabulary())
    (folder / RECORD).write_text(json.dumps(required, indent=2) + "\n", encoding="utf-8")


def _vocabulary() -> bytes:
    with tempfile.TemporaryDirectory() as fetched:
        _pip("download", "--no-deps", "--only-binary=:all:", "--dest", fetched, VOCABULARY_PACKAGE)
        (wheel,) = Path(fetched).glob("*.whl")
        content = zipfile.ZipFile(wheel).read(f"open_clip/{VOCABULARY}")
    digest = hashlib.sha256(content).hexdigest()
    if digest != VOCABULARY_SHA256:
        raise ValueError(
            f"The vocabulary of {VOCABULARY_PACKAGE} must have sha256 {VOCABULARY_SHA256}, got {digest}. "
            "pip fetched something other than the published package: check the index that it is configured with."
        )
    return content


def _pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input", *words]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode == 0:
        return
    if "No module named pip" in done.stderr:
        raise ValueError(
            f"The folder for hpsv2 is filled by pip, got a Python without it, {sys.executable}. "
            "Add it: python -m ensurepip"
        )
    last = "\n    ".join(done.stderr.strip().splitlines()[-3:])
    raise ValueError(
        f"The folder for hpsv2 needs packages from PyPI, got from pip {words[0]}:\n    {last}\n"
        "On a machine without network point pip to a mirror (PIP_INDEX_URL, or PIP_FIND_LINKS with the wheels), or "
        "make the folder on a machine with network and the same Python and torch, and copy it."
    )


def _check_package(folder: Path) -> None:
    """Test the package: build a small model with random weights and score a picture."""
    picture = BytesIO()
    Image.new("RGB", (40, 30), "red").save(picture, format="PNG")
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch) / "small.json"
        config.write_text(json.dumps(_SMALL), encoding="utf-8")
        try:
            scorer = ScorerProcess(folder=folder, weights=None, model_config=config, device="cpu")
            scores = scorer.score(["a red picture"], [picture.getvalue()])
            scorer.close()
        except ScorerProcessError as error:
            raise ValueError(
                f"hpsv2 must build its model in {folder}, but {error}\nDelete the folder and make it again."
            ) from error
    if len(scores) != 1 or not -1 <= scores[0] <= 1:
        raise ValueError(f"hpsv2 must give a cosine, got {scores} in {folder}. Delete the folder and make it again.")


def _put_in_place(made: Path, folder: Path, required: dict[str, object]) -> None:
    """Rename the new folder over the old one; if two processes create it at once, one complete folder stays."""
    made.chmod(0o777 & ~_umask())
    if folder.exists() and _record(folder) != required:
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
        os.replace(folder, old)
        shutil.rmtree(old, ignore_errors=True)
    try:
        os.replace(made, folder)
    except OSError:
        if _record(folder) != required:
            raise


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
