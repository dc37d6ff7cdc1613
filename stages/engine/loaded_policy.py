"""A loaded network, and the stored policy whose weights it has."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from g2rpo.distributed.fsdp import held_like
from g2rpo.policies.protocol import Policy
from stages.disk.policy_files import read_weights
from stages.disk.policy_state import policy_state

_AS_LOADED = "as loaded"


class LoadedPolicy:
    """A network that reads weights from disk only if their digest differs from that of its own.

    Args:
        policy: The network as loaded: the base.
        first: The weights that a run starts from, by name: an adapter's initial weights, else the base's.
    """

    def __init__(self, policy: Policy, first: Callable[[], Mapping[str, Tensor]]) -> None:
        self.policy = policy
        self._first = first
        self._current: str | None = _AS_LOADED

    def hold(self, folder: Path, *, averaged: bool = False) -> Policy:
        """Return the network with the weights of a stored policy; `averaged` gives those for evaluation."""
        state = policy_state(folder)
        required = f"{state.digest} averaged" if averaged and state.has_average else state.digest
        if state.is_base and self._current == _AS_LOADED:
            self._current = required
        if self._current != required:
            self._current = None
            weights = self._first() if state.is_base else self._fitting(folder, averaged=averaged)
            self._copy(weights.items())
            self._current = required
        return self.policy

    def take(self, weights: Iterable[tuple[str, Tensor]], folder: Path) -> None:
        """Copy the weights of a stored policy from an iterable, one after another."""
        self._copy(weights)
        self.is_now(folder)

    def changes(self) -> None:
        """Note that training changes the weights: for now they belong to no stored policy."""
        self._current = None

    def is_now(self, folder: Path) -> None:
        """Note that the weights are now those of this stored policy."""
        self._current = policy_state(folder).digest

    def _fitting(self, folder: Path, *, averaged: bool) -> dict[str, Tensor]:
        """Return the weights of a stored policy: one for each weight that is trained, of its shape.

        Raises:
            ValueError: With the names that are missing, left over or of another shape.
        """
        weights = read_weights(folder, averaged=averaged)
        own = dict(self.policy.module.named_parameters())
        trained = {name for name, weight in own.items() if weight.requires_grad}
        left_over = weights.keys() - own.keys()
        shapes = {name for name in weights.keys() & own.keys() if weights[name].shape != own[name].shape}
        wrong = {"missing": trained - weights.keys(), "left over": left_over, "of another shape": shapes}
        if any(wrong.values()):
            raise ValueError(
                f"The stored policy {folder} must have the weights that this model trains, got "
                + "; ".join(f"{len(names)} {what}, as {min(names)}" for what, names in wrong.items() if names)
                + ". Take the model and the parameters of its run, or run `g2rpo repair --run KEY`."
            )
        return weights

    @torch.no_grad()
    def _copy(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        own = dict(self.policy.module.named_parameters())
        for name, tensor in weights:
            own[name].copy_(held_like(tensor, own[name]))
