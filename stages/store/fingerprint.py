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
        learned = [section for section in Params.model_fields if params.effect_of(section) is None]
        tree = {section: getattr(params, section).without(*Effect) for section in learned}
        tree["resources"]["device"] = device
        tree["origins"] = run_origins(params) | {"algorithm_version": ALGORITHM_VERSION}
        return cls({f"{section}.{key}": value for section, keys in tree.items() for key, value in keys.items()})

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
