"""A policy on disk: safetensors and JSON, nothing that unpickles.

    policy/state.json               digest of all that follows, optimizer steps taken
    policy/weights.safetensors      the trained weights by name, fp32
    policy/average.safetensors      their average, where one is kept
    policy/optimizer.safetensors    moments (and average) of the trainer

The base policy is such a folder with state.json alone: it names the weights that a model family ships.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from g2rpo.trainer import Trainer
from stages.files import atomic_folder, file_digest, read_json, value_digest, write_json

STATE = "state.json"
_WEIGHTS, _AVERAGE, _OPTIMIZER = "weights.safetensors", "average.safetensors", "optimizer.safetensors"


@dataclass(frozen=True)
class PolicyState:
    """What state.json says. Example: digest "9b…", num_steps 12 after twelve optimizer steps."""

    digest: str
    num_steps: int
    files: Mapping[str, str]
    """Digest of each file of weights and moments; none for the base."""

    @property
    def is_base(self) -> bool:
        """Whether these are the weights that the family ships, or those at `policy.path`."""
        return not self.files

    @property
    def has_average(self) -> bool:
        """Whether an average of the weights is kept."""
        return _AVERAGE in self.files


def policy_state(folder: Path) -> PolicyState:
    """Return the state of a stored policy, also of one whose weights have been pruned.

    Raises:
        ValueError: If the folder holds none.
    """
    if not (folder / STATE).is_file():
        raise ValueError(f"A policy is required, got no {STATE} in {folder}. Run the round's update stage.")
    return PolicyState(**read_json(folder / STATE))


def missing_files(folder: Path) -> list[str]:
    """Return the files that a stored policy ought to have and has not; those of a pruned one."""
    return [name for name in policy_state(folder).files if not (folder / name).is_file()]


def write_base(folder: Path, digest: str) -> None:
    """Store the base policy: its digest, and that no step has been taken."""
    write_json(folder / STATE, {"digest": digest, "num_steps": 0, "files": {}})


def write_policy(folder: Path, trainer: Trainer) -> None:
    """Store what the trainer holds, the whole folder or nothing of it."""
    with atomic_folder(folder) as temporary:
        _save(temporary / _WEIGHTS, trainer.weights())
        _save(temporary / _OPTIMIZER, trainer.state())
        if trainer.settings.ema_decay is not None:
            _save(temporary / _AVERAGE, trainer.evaluation_weights())
        state = {"num_steps": trainer.num_steps, "files": {p.name: file_digest(p) for p in sorted(temporary.iterdir())}}
        write_json(temporary / STATE, {"digest": value_digest(state)} | state)


def read_weights(folder: Path, *, averaged: bool) -> dict[str, Tensor]:
    """Return the weights that are trained, or those that are judged: the average where one is kept.

    Raises:
        ValueError: If they are not there any more.
    """
    return _load(folder, _AVERAGE if averaged and policy_state(folder).has_average else _WEIGHTS)


def read_optimizer(folder: Path) -> dict[str, Tensor]:
    """Return the trainer's tensors by name.

    Raises:
        ValueError: If they are not there any more.
    """
    return _load(folder, _OPTIMIZER)


def _load(folder: Path, name: str) -> dict[str, Tensor]:
    if not (folder / name).is_file():
        raise ValueError(
            f"The policy's {name} is required, got none in {folder}: it was pruned or lost. Give the command that "
            "made the run again, or take a later round; `retention.rounds` says how many keep theirs."
        )
    try:
        return load_file(folder / name)
    except SafetensorError as error:
        raise ValueError(
            f"{folder / name} must be as it was written, got a damaged file: {error}. Give the command that made "
            "the run again: it makes what is damaged anew."
        ) from error


def _save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    try:
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:  # of the file system; the library has no other class for it
        raise OSError(str(error)) from error
