"""The policy that is trained, and its trainer: in this process alone, or as one process of a group."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from g2rpo.distributed.fsdp import whole
from g2rpo.distributed.gradients import GradientSync, Replicated, Sharded
from g2rpo.distributed.group import ProcessGroup
from g2rpo.trainer import OptimizerSettings, Trainer
from g2rpo.velocity import VelocityField
from stages.disk.policy_files import read_optimizer
from stages.disk.policy_state import policy_state
from stages.engine.loaded_policy import LoadedPolicy


@dataclass(frozen=True)
class Networks:
    """Sources of the network that is trained."""

    painting: Callable[[], LoadedPolicy]
    """The network that also samples."""
    painted: Callable[[], LoadedPolicy | None]
    """That network, if it is loaded."""
    apart: Callable[[], LoadedPolicy]
    """Another network, on the CPU, to be sharded."""
    dtype: torch.dtype
    """Dtype of their computation."""


class TrainedPolicy:
    """Keeps network and trainer from round to round.

    Args:
        networks: Sources of the network.
        process_group: The processes that train together.
        in_shares: Whether they shard one network, beside the copies for sampling; else each trains a copy.
    """

    def __init__(self, networks: Networks, process_group: ProcessGroup, *, in_shares: bool) -> None:
        self.process_group = process_group
        self._networks, self._in_shares = networks, in_shares and process_group.size > 1
        self._network: LoadedPolicy | None = None
        self._team = GradientSync()
        self._trainer: Trainer | None = None
        self._trainer_digest: str | None = None

    def field(self, folder: Path, micro_batch: int) -> VelocityField:
        """Return the velocity field, with gradient, of a stored policy."""
        policy = self._trained_policy().hold(folder)
        return VelocityField(policy, micro_batch, self._networks.dtype, team=self._team)

    def trainer(self, folder: Path, settings: OptimizerSettings) -> Trainer:
        """Return a trainer that continues from a stored policy; call `trained` once the next one is stored."""
        held, state = self._trained_policy(), policy_state(folder)
        policy = held.hold(folder)
        if self._trainer is None or self._trainer_digest != state.digest:
            self._trainer = Trainer(policy.module, settings)
            if not state.is_base:
                self._trainer.load_state(read_optimizer(folder), state.num_steps)
        held.changes()
        self._trainer_digest = None
        return self._trainer

    def trained(self, folder: Path) -> None:
        """Note that weights and moments are now those of this stored policy."""
        self._trained_policy().is_now(folder)
        self._trainer_digest = policy_state(folder).digest
        sampling = self._networks.painted()
        if self._in_shares and any(self.process_group.gathered([sampling is not None])):
            self._copy_to_sampling(sampling, folder)

    def _copy_to_sampling(self, sampling: LoadedPolicy | None, folder: Path) -> None:
        """Copy the sharded weights to the copies for sampling, faster than from disk; all processes take part."""
        named = ((name, whole(p.detach())) for name, p in self._trained_policy().policy.module.named_parameters())
        if sampling:
            sampling.take(named, folder)
        else:
            deque(named, maxlen=0)

    def _trained_policy(self) -> LoadedPolicy:
        if self._network is None:
            self._network = self._networks.apart() if self._in_shares else self._networks.painting()
            if self._in_shares:
                self._team = Sharded(self._network.policy, self.process_group, self._networks.dtype)
            elif self.process_group.size > 1:
                self._team = Replicated(self._network.policy, self.process_group)
        return self._network
