"""The state of a stored policy, without loading its weights.

    policy/state.json               digest of the other files, number of optimizer steps
    policy/weights.safetensors      the trained weights by name, fp32
    policy/average.safetensors      their average, if one is kept
    policy/optimizer.safetensors    moments (and average) of the trainer

The folder of the base policy has state.json alone, which names the weights that a model family ships.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stages.disk.files import read_json, value_digest, write_json
from stages.disk.records import StateRecord, is_record

STATE = "state.json"
WEIGHTS, AVERAGE, OPTIMIZER = "weights.safetensors", "average.safetensors", "optimizer.safetensors"
POLICY_FILES = (AVERAGE, OPTIMIZER, STATE, WEIGHTS)
"""All names that a file of a policy may have, in order."""


@dataclass(frozen=True)
class PolicyState:
    """The content of state.json. Example: digest "9b…", num_steps 12 after twelve optimizer steps."""

    digest: str
    num_steps: int
    files: Mapping[str, str]
    """Digest of each file of weights and moments; none for the base."""

    @property
    def is_base(self) -> bool:
        """Whether this is the base: the weights that the family ships, or those at `policy.path`."""
        return not self.files

    @property
    def has_average(self) -> bool:
        """Whether an average of the weights is kept."""
        return AVERAGE in self.files


def policy_state(folder: Path) -> PolicyState:
    """Return the state of a stored policy, also of one whose weights have been pruned.

    Raises:
        ValueError: If the folder holds none, or its state.json is damaged.
    """
    path = folder / STATE
    if not path.is_file():
        raise ValueError(f"A policy is required, got no {STATE} in {folder}. Run the round's update stage.")
    state = None
    with suppress(ValueError):
        value = read_json(path)
        state = PolicyState(**value) if is_record(value, StateRecord) else None
    if state is None or not (state.is_base or state.digest == state_digest(state.num_steps, state.files)):
        raise ValueError(
            f"{path} must be as it was written, got a damaged or edited file. Run `g2rpo repair --run KEY`: it "
            "rebuilds damaged files."
        )
    return state


def state_digest(num_steps: int, files: Mapping[str, str]) -> str:
    """Return the digest of a trained policy: of its files, and of the optimizer steps that made them."""
    return value_digest({"num_steps": num_steps, "files": files})


def missing_files(folder: Path) -> list[str]:
    """Return the files that a stored policy ought to have and has not: those of a pruned one, or state.json itself.

    Raises:
        ValueError: If its state.json is damaged.
    """
    if not (folder / STATE).is_file():
        return [STATE]
    return [name for name in policy_state(folder).files if not (folder / name).is_file()]


def write_base(folder: Path, digest: str) -> None:
    """Store the base policy: its digest, with zero optimizer steps."""
    write_json(folder / STATE, {"digest": digest, "num_steps": 0, "files": {}})
