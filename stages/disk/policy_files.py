"""Write and read a policy: safetensors and JSON, nothing that unpickles. Its files: policy_state.py."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from g2rpo.distributed.fsdp import whole
from g2rpo.model_files.weights import read_tensors
from g2rpo.trainer import Trainer
from stages.disk.files import atomic_folder, file_digest, write_json
from stages.disk.policy_state import AVERAGE, OPTIMIZER, STATE, WEIGHTS, PolicyState, policy_state, state_digest


def write_policy(folder: Path, trainer: Trainer, *, leads: bool = True) -> None:
    """Store the trainer's weights and state, the whole folder or nothing.

    Sharded tensors are stored whole, so that any number of processes can read them: all processes with shards must
    call this, and the one that `leads` writes.
    """
    contents = {WEIGHTS: trainer.weights, OPTIMIZER: trainer.state}
    if trainer.settings.ema_decay is not None:
        contents[AVERAGE] = trainer.evaluation_weights
    if not leads:
        for tensors in contents.values():
            for tensor in tensors().values():
                whole(tensor)
        return
    with atomic_folder(folder) as temporary:
        for name, tensors in contents.items():
            _save(temporary / name, tensors())
        files = {path.name: file_digest(path) for path in sorted(temporary.iterdir())}
        state = PolicyState(state_digest(trainer.num_steps, files), trainer.num_steps, files)
        write_json(temporary / STATE, vars(state))


def read_weights(folder: Path, *, averaged: bool) -> dict[str, Tensor]:
    """Return the trained weights, or with `averaged` those for evaluation: the average, if one is stored.

    Raises:
        ValueError: If the file is missing or damaged.
    """
    return _load(folder, AVERAGE if averaged and policy_state(folder).has_average else WEIGHTS)


def read_optimizer(folder: Path) -> dict[str, Tensor]:
    """Return the trainer's tensors by name.

    Raises:
        ValueError: If the file is missing or damaged.
    """
    return _load(folder, OPTIMIZER)


def _load(folder: Path, name: str) -> dict[str, Tensor]:
    digest = policy_state(folder).files.get(name)
    if not (folder / name).is_file():
        raise ValueError(
            f"The policy's {name} is required, got none in {folder}: it was pruned or lost. Take a later round "
            "(`retention.rounds` says how many keep theirs), or run `g2rpo repair --run KEY` if it was lost."
        )
    if file_digest(folder / name) != digest:
        raise ValueError(
            f"{folder / name} must be as it was written, got a damaged or edited file. Run `g2rpo repair --run "
            "KEY`: it rebuilds damaged files."
        )
    return read_tensors(folder / name, folder)


def _save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    try:
        save_file({name: whole(tensor).cpu().contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:  # of the file system; the library has no other class for it
        raise OSError(str(error)) from error
