"""The policy that is being trained, with its trainer: in this process alone, or as one of a process group's."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from g2rpo.distributed.fsdp import whole
from g2rpo.distributed.gradients import Replicated, Sharded, Team
from g2rpo.distributed.group import ProcessGroup
from g2rpo.trainer import OptimizerSettings, Trainer
from g2rpo.velocity import VelocityField
from stages.disk.policy_files import read_optimizer
from stages.disk.policy_state import policy_state
from stages.engine.loaded_policy import HeldPolicy


@dataclass(frozen=True)
class Networks:
    """Where the network that learns comes from."""

    painting: Callable[[], HeldPolicy]
    """The one that also paints."""
    painted: Callable[[], HeldPolicy | None]
    """That one if it has been loaded."""
    apart: Callable[[], HeldPolicy]
    """Another, on the CPU, to be cut into shares."""
    dtype: torch.dtype
    """What they compute in."""


class Learning:
    """Keeps network and trainer from round to round.

    Args:
        networks: Where the network comes from.
        process_group: The processes that learn together.
        in_shares: Whether they train one network in shares, beside those that paint; else copies.
    """

    def __init__(self, networks: Networks, process_group: ProcessGroup, *, in_shares: bool) -> None:
        self.process_group = process_group
        self._networks, self._in_shares = networks, in_shares and process_group.size > 1
        self._network: HeldPolicy | None = None
        self._team = Team()
        self._trainer: Trainer | None = None
        self._trainer_held: str | None = None

    def field(self, folder: Path, micro_batch: int) -> VelocityField:
        """Return the velocity field, with gradient, of a stored policy."""
        policy = self._held().hold(folder)
        return VelocityField(policy, micro_batch, self._networks.dtype, team=self._team)

    def trainer(self, folder: Path, settings: OptimizerSettings) -> Trainer:
        """Return a trainer that goes on from a stored policy; call `trained` once the next one is stored."""
        held, state = self._held(), policy_state(folder)
        policy = held.hold(folder)
        if self._trainer is None or self._trainer_held != state.digest:
            self._trainer = Trainer(policy.module, settings)
            if not state.is_base:
                self._trainer.load_state(read_optimizer(folder), state.num_steps)
        held.changes()
        self._trainer_held = None
        return self._trainer

    def trained(self, folder: Path) -> None:
        """Take note that the weights and moments held are now those of this stored policy."""
        self._held().is_now(folder)
        self._trainer_held = policy_state(folder).digest
        painting = self._networks.painted()
        if self._in_shares and any(self.process_group.gathered([painting is not None])):
            self._show(painting, folder)

    def _show(self, painting: HeldPolicy | None, folder: Path) -> None:
        """Give the copies that paint what lies in shares, sooner than they would have it from disk; all take part."""
        named = ((name, whole(p.detach())) for name, p in self._held().policy.module.named_parameters())
        if painting:
            painting.take(named, folder)
        else:
            deque(named, maxlen=0)

    def _held(self) -> HeldPolicy:
        if self._network is None:
            self._network = self._networks.apart() if self._in_shares else self._networks.painting()
            if self._in_shares:
                self._team = Sharded(self._network.policy, self.process_group, self._networks.dtype)
            elif self.process_group.size > 1:
                self._team = Replicated(self._network.policy, self.process_group)
        return self._network
