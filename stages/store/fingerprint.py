"""The fingerprint of a run: everything that changes its numbers, and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stages.disk.files import value_digest
from stages.params.record import Params
from stages.params.section import Effect
from stages.store.input_digests import run_origins

ALGORITHM_VERSION = 6
"""Increased when the same parameters would give other numbers, or other files."""


_VERSION = "algorithm_version"


@dataclass(frozen=True)
class Fingerprint:
    """The inputs of a run's numbers, as `section.key` and `origins.name`; its digest is the run's key.

    Example: `values["rollout.eta"] == 0.7`, `values["origins.policy"] == "9f…"`.
    """

    values: Mapping[str, Any]

    @classmethod
    def of(cls, params: Params, device: str) -> "Fingerprint":
        """Return the fingerprint of parameters on a kind of device, "cpu" or "cuda".

        It excludes the number of rounds, evaluation, retention and tracking. For weights, rewards and prompts the
        contents count, not the path.

        Raises:
            ValueError: If base weights or prompts are missing.
        """
        origins = run_origins(params) | {_VERSION: ALGORITHM_VERSION}
        of_files = {f"origins.{name}": value for name, value in origins.items()}
        return cls(cls.settings(params) | {"resources.device": device} | of_files)

    @staticmethod
    def settings(params: Params) -> dict[str, Any]:
        """Return the parameters that change a run's numbers, as `section.key`."""
        learned = [section for section in Params.model_fields if params.effect_of(section) is None]
        tree = {section: getattr(params, section).without(*Effect) for section in learned}
        return {f"{section}.{key}": value for section, keys in tree.items() for key, value in keys.items()}

    @staticmethod
    def origin_names(params: Params) -> set[str]:
        """Return the names of what else changes a run's numbers: the files that the parameters name, our version."""
        rewards = {f"rewards/{name}" for name in params.score.rewards}
        return {"policy", f"prompts/{params.prompts.split}", _VERSION} | rewards

    @property
    def key(self) -> str:
        """16 hex digits."""
        return value_digest(dict(self.values))[:16]

    def differences(self, other: "Fingerprint") -> list[str]:
        """Return a line for each value that differs in the other, such as `update.learning_rate: 0.0001, got 0.001`."""
        missing = "nothing"
        return [
            f"{name}: {self.values.get(name, missing)}, got {other.values.get(name, missing)}"
            for name in sorted(self.values.keys() | other.values.keys())
            if self.values.get(name, missing) != other.values.get(name, missing)
        ]
