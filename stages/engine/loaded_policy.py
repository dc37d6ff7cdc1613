"""A loaded network, and which stored policy's weights are in it."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from g2rpo.distributed.fsdp import held_like
from g2rpo.policies.protocol import Policy
from stages.disk.policy_files import read_weights
from stages.disk.policy_state import policy_state

_AS_LOADED = "as loaded"


class HeldPolicy:
    """Weights are taken from disk only when they are not those already held, told apart by digest.

    Args:
        policy: As it was loaded: the base.
        first: What a run starts from, by name: of an adapter its first weights, else the base's.
    """

    def __init__(self, policy: Policy, first: Callable[[], Mapping[str, Tensor]]) -> None:
        self.policy = policy
        self._first = first
        self._held: str | None = _AS_LOADED

    def hold(self, folder: Path, *, averaged: bool = False) -> Policy:
        """Return the network with the weights of a stored policy in it; `averaged` gives those that are judged."""
        state = policy_state(folder)
        wanted = f"{state.digest} averaged" if averaged and state.has_average else state.digest
        if state.is_base and self._held == _AS_LOADED:
            self._held = wanted
        if self._held != wanted:
            self._held = None
            weights = self._first() if state.is_base else read_weights(folder, averaged=averaged)
            self._copy(weights.items())
            self._held = wanted
        return self.policy

    def take(self, weights: Iterable[tuple[str, Tensor]], folder: Path) -> None:
        """Take the weights of a stored policy from whoever holds them, one after another."""
        self._copy(weights)
        self.is_now(folder)

    def changes(self) -> None:
        """Take note that the weights are being trained: what is held has no name for the time being."""
        self._held = None

    def is_now(self, folder: Path) -> None:
        """Take note that the weights held are those of this stored policy."""
        self._held = policy_state(folder).digest

    @torch.no_grad()
    def _copy(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        own = dict(self.policy.module.named_parameters())
        for name, tensor in weights:
            own[name].copy_(held_like(tensor, own[name]))
