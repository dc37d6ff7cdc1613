"""A policy on disk, written and read: safetensors and JSON, nothing that unpickles; its files: policy_state.py."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from g2rpo.distributed.fsdp import whole
from g2rpo.trainer import Trainer
from stages.disk.files import atomic_folder, file_digest, write_json
from stages.disk.policy_state import AVERAGE, OPTIMIZER, STATE, WEIGHTS, PolicyState, policy_state, state_digest


def write_policy(folder: Path, trainer: Trainer, *, leads: bool = True) -> None:
    """Store what the trainer holds, the whole folder or nothing of it.

    What lies in shares becomes whole, so that any number of processes can read it: all that hold some must call this,
    and the one that `leads` writes.
    """
    held = {WEIGHTS: trainer.weights, OPTIMIZER: trainer.state}
    if trainer.settings.ema_decay is not None:
        held[AVERAGE] = trainer.evaluation_weights
    if not leads:
        for tensors in held.values():
            for tensor in tensors().values():
                whole(tensor)
        return
    with atomic_folder(folder) as temporary:
        for name, tensors in held.items():
            _save(temporary / name, tensors())
        files = {path.name: file_digest(path) for path in sorted(temporary.iterdir())}
        state = PolicyState(state_digest(trainer.num_steps, files), trainer.num_steps, files)
        write_json(temporary / STATE, vars(state))


def read_weights(folder: Path, *, averaged: bool) -> dict[str, Tensor]:
    """Return the weights that are trained, or those that are judged: the average where one is kept.

    Raises:
        ValueError: If they are not there any more.
    """
    return _load(folder, AVERAGE if averaged and policy_state(folder).has_average else WEIGHTS)


def read_optimizer(folder: Path) -> dict[str, Tensor]:
    """Return the trainer's tensors by name.

    Raises:
        ValueError: If they are not there any more.
    """
    return _load(folder, OPTIMIZER)


def _load(folder: Path, name: str) -> dict[str, Tensor]:
    digest = policy_state(folder).files.get(name)
    if not (folder / name).is_file():
        raise ValueError(
            f"The policy's {name} is required, got none in {folder}: it was pruned or lost. Take a later round "
            "(`retention.rounds` says how many keep theirs), or give `g2rpo repair` with the run's key if it was lost."
        )
    if file_digest(folder / name) != digest:
        raise ValueError(
            f"{folder / name} must be as it was written, got a damaged or edited file. Give `g2rpo repair` with the "
            "run's key: it makes what is damaged anew."
        )
    return load_file(folder / name)


def _save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    try:
        save_file({name: whole(tensor).cpu().contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:  # of the file system; the library has no other class for it
        raise OSError(str(error)) from error
