"""The loaded models of this process, shared by the stages that run in it: the only shared state.

Weights are taken from disk only when they are not those already held, told apart by digest; so the stages of
a round, and the rounds of a run, load a model once.
"""

from collections.abc import Collection
from pathlib import Path

import torch

from g2rpo.policies.protocol import Policy
from g2rpo.rewards.protocol import Reward
from g2rpo.trainer import OptimizerSettings, Trainer
from g2rpo.velocity import VelocityField
from stages.params import Params
from stages.policy_files import read_optimizer, read_weights
from stages.policy_state import policy_state


class Resources:
    """Models on one device, loaded when first asked for.

    Raises:
        ValueError: If the device that params.yaml asks for is not there.
    """

    def __init__(self, params: Params) -> None:
        self.device = _device(params.resources.device)
        self.dtype = getattr(torch, params.resources.dtype)
        torch.set_num_threads(params.resources.threads)
        self._params = params
        self._policy: Policy | None = None
        self._base: Policy | None = None
        self._held: str | None = None
        self._trainer: Trainer | None = None
        self._trainer_held: str | None = None
        self._rewards: dict[str, Reward] = {}

    def field(self, folder: Path, micro_batch: int, *, averaged: bool = False) -> VelocityField:
        """Return the velocity field of a stored policy; `averaged` gives the weights that are judged."""
        return VelocityField(self.policy(folder, averaged=averaged), micro_batch, self.dtype)

    def base_field(self, micro_batch: int) -> VelocityField:
        """Return the velocity field of the base policy, a network of its own that is never trained."""
        if self._base is None:
            self._base = self._load_base()
            self._base.module.requires_grad_(False)
        return VelocityField(self._base, micro_batch, self.dtype)

    def policy(self, folder: Path, *, averaged: bool = False) -> Policy:
        """Return the trained network with the weights of a stored policy in it."""
        state = policy_state(folder)
        if self._policy is None:
            self._policy = self._load_base()
            self._held = state.digest if state.is_base else None
        wanted = f"{state.digest} averaged" if averaged and state.has_average else state.digest
        if self._held != wanted:
            self._held = None
            base = self._load_base().module.state_dict() if state.is_base else None
            weights = base or read_weights(folder, averaged=averaged)
            own = dict(self._policy.module.named_parameters())
            with torch.no_grad():
                for name, tensor in weights.items():
                    own[name].copy_(tensor)
            self._held = wanted
        return self._policy

    def trainer(self, folder: Path, settings: OptimizerSettings) -> Trainer:
        """Return a trainer that goes on from a stored policy; call `trained` once the next one is stored."""
        policy, state = self.policy(folder), policy_state(folder)
        if self._trainer is None or self._trainer_held != state.digest:
            self._trainer = Trainer(policy.module, settings)
            if not state.is_base:
                self._trainer.load_state(read_optimizer(folder), state.num_steps)
        self._held = self._trainer_held = None  # until the next policy is stored, what is held has no name
        return self._trainer

    def trained(self, folder: Path) -> None:
        """Take note that the weights and moments held are now those of this stored policy."""
        self._held = self._trainer_held = policy_state(folder).digest

    def reward(self, name: str) -> Reward:
        """Return a reward by name.

        Raises:
            ValueError: If there is no such reward.
        """
        if name not in self._rewards:
            from g2rpo.rewards.shapes import load_reward

            self._rewards[name] = load_reward(name, self.device)
        return self._rewards[name]

    def check_rewards(self, names: Collection[str]) -> None:
        """Refuse names that no reward has, before anything is computed.

        Raises:
            ValueError: With the names that there are.
        """
        from g2rpo.rewards.shapes import REWARDS

        unknown = sorted(set(names) - set(REWARDS))
        if unknown:
            raise ValueError(f"A reward is one of {', '.join(REWARDS)}, got {', '.join(unknown)}.")

    def decoder(self) -> Policy:
        """Return a policy whose `decode` is wanted, whatever its weights."""
        if self._policy is None:
            return self.base_field(1).policy
        return self._policy

    def _load_base(self) -> Policy:
        from g2rpo.policies.shapes import ShapesPolicy

        path = self._params.policy.path
        return ShapesPolicy.load(Path(path) if path else None, device=self.device)


def _device(wanted: str) -> torch.device:
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise ValueError("resources.device: cuda needs a CUDA device, got none. Set it to auto or cpu.")
    return torch.device("cuda" if there and wanted != "cpu" else "cpu")
