"""The shapes world's weights that come with the package: where they lie, and the names of its rewards."""

from importlib.resources import files
from pathlib import Path

JUDGES = ("judge_a", "judge_b")
"""Rewards with weights."""
RULES = ("rule_soft", "rule_strict")
CLEAN = "clean_pixels"
REWARDS = (*JUDGES, *RULES, CLEAN)


def shipped_weights() -> Path:
    """Return the folder of all that is shipped: base model, judges, and the log of their training."""
    return Path(str(files("g2rpo.shapes"))) / "weights"


def shipped_base() -> Path:
    """Return the folder of the base model."""
    return shipped_weights() / "base"


def judge_path(name: str, *, folder: Path | None = None) -> Path:
    """Return the file of a judge's weights; without a folder, the shipped one. A rule has no such file."""
    return (shipped_weights() if folder is None else folder) / f"{name}.safetensors"
