"""A policy on disk: safetensors and JSON, nothing that unpickles.

    policy/state.json               digest of the weights, optimizer steps taken
    policy/weights.safetensors      the trained weights by name, fp32
    policy/average.safetensors      their average, where one is kept
    policy/optimizer.safetensors    moments (and average) of the trainer

The base policy is such a folder with state.json alone: it names the weights that a model family ships.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from g2rpo.trainer import Trainer
from stages.files import file_digest, read_json, write_json

_WEIGHTS, _AVERAGE, _OPTIMIZER = "weights.safetensors", "average.safetensors", "optimizer.safetensors"


@dataclass(frozen=True)
class PolicyState:
    """What state.json says. Example: digest "9b…", num_steps 12 after twelve optimizer steps."""

    digest: str
    num_steps: int
    is_base: bool
    has_average: bool


def policy_state(folder: Path) -> PolicyState:
    """Return the state of a stored policy.

    Raises:
        ValueError: If the folder holds none.
    """
    if not (folder / "state.json").is_file():
        raise ValueError(f"A policy is required, got no state.json in {folder}. Run the round's update stage.")
    state = read_json(folder / "state.json")
    return PolicyState(
        digest=state["digest"],
        num_steps=state["num_steps"],
        is_base=not (folder / _WEIGHTS).is_file(),
        has_average=(folder / _AVERAGE).is_file(),
    )


def write_base(folder: Path, digest: str) -> None:
    """Store the base policy: its digest, and that no step has been taken."""
    write_json(folder / "state.json", {"digest": digest, "num_steps": 0})


def write_policy(folder: Path, trainer: Trainer) -> None:
    """Store what the trainer holds, the whole folder or nothing of it."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    _save(temporary / _WEIGHTS, trainer.weights())
    _save(temporary / _OPTIMIZER, trainer.state())
    if trainer.settings.ema_decay is not None:
        _save(temporary / _AVERAGE, trainer.evaluation_weights())
    state = {"digest": file_digest(temporary / _WEIGHTS), "num_steps": trainer.num_steps}
    write_json(temporary / "state.json", state)
    if folder.exists():
        shutil.rmtree(folder)
    temporary.rename(folder)


def read_weights(folder: Path, *, averaged: bool) -> dict[str, Tensor]:
    """Return the weights that are trained, or those that are judged: the average where one is kept."""
    path = folder / _AVERAGE
    return load_file(path if averaged and path.is_file() else folder / _WEIGHTS)


def read_optimizer(folder: Path) -> dict[str, Tensor]:
    """Return the trainer's tensors by name."""
    return load_file(folder / _OPTIMIZER)


def _save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, path)
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
