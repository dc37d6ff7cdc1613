"""The loaded models of this process, shared by the stages that run in it: the only shared state.

Weights are read from disk only if their digest differs from that of the loaded ones; so the stages of a round, and
the rounds of a run, load a model once. Models that a stage does not need may leave the device.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from g2rpo.distributed.group import ALONE, ProcessGroup
from g2rpo.policies.compute import Compute
from g2rpo.policies.protocol import Condition, Policy
from g2rpo.rewards.protocol import Reward
from g2rpo.schedule import shifted_sigmas
from g2rpo.velocity import VelocityField
from stages.contract.declared_stages import Model, Stage
from stages.contract.executor import Usage
from stages.contract.job import Job
from stages.disk.files import value_digest
from stages.disk.root import store_root
from stages.engine.embeddings import Embeddings
from stages.engine.loaded_policy import LoadedPolicy
from stages.engine.peak_memory import begin_peak, peak_bytes
from stages.engine.trained_policy import Networks, TrainedPolicy
from stages.params.record import Params
from stages.sources.base_model import base_model, encoder_digest
from stages.sources.device import select_device
from stages.sources.rewards import load_reward


class LoadedModels:
    """Models on one device, loaded at their first use.

    Raises:
        ValueError: If the device or the base model of params.yaml does not exist.
    """

    def __init__(self, params: Params) -> None:
        settings = params.resources
        self.device = select_device(settings.device)
        self.dtype = getattr(torch, settings.dtype)
        torch.set_num_threads(settings.threads)
        self._params = params
        self._base_model = base_model(params)
        self._compute = Compute(
            device=self.device,
            dtype=self.dtype,
            decode_batch=settings.decode_batch,
            gradient_checkpointing=settings.gradient_checkpointing,
            attention=settings.attention,
            compile=settings.compile,
            quantise=settings.quantise,
            trained=not params.trains_sharded,  # else a separate network is trained
        )
        self._embeddings = Embeddings(self._base_model, self._compute, self._embeddings_folder())
        self._network: LoadedPolicy | None = None
        self._base: Policy | None = None
        self._initial: dict[str, Tensor] | None = None
        self._rewards: dict[str, Reward] = {}
        self._needed: Sequence[Model] = ("network", "base", "decoder", "rewards")
        self.learn_with(ALONE)

    def sigmas(self, num_steps: int) -> Tensor:
        """Return the schedule of a number of steps, shape (num_steps + 1,), with the shift of params.yaml."""
        shift = self._params.rollout.shift
        return shifted_sigmas(num_steps, self._base_model.shift if shift == "model" else shift)

    def condition(self, texts: Sequence[str]) -> Condition:
        """Return the condition of texts, one row per text, on the device.

        Raises:
            ValueError: If the model cannot read a text.
        """
        return self._embeddings.condition(texts)

    def encode(self, texts: Sequence[str]) -> int:
        """Encode the texts that the cache does not have, and return their number."""
        return self._embeddings.encode(texts)

    def field(self, folder: Path, micro_batch: int, *, averaged: bool = False) -> VelocityField:
        """Return the velocity field of a stored policy; `averaged` gives the weights for evaluation."""
        return VelocityField(self.policy(folder, averaged=averaged), micro_batch, self.dtype)

    def base_field(self, micro_batch: int) -> VelocityField:
        """Return the velocity field of the base: the policy with its adapter off, else a separate network."""
        if self._params.adapted:
            return VelocityField(self._loaded_policy().policy, micro_batch, self.dtype, base=True)
        if self._base is None:
            self._base = self._load_base()
            self._base.module.requires_grad_(False)
        return VelocityField(self._base, micro_batch, self.dtype)

    def policy(self, folder: Path, *, averaged: bool = False) -> Policy:
        """Return the network for sampling, with the weights of a stored policy."""
        return self._loaded_policy().hold(folder, averaged=averaged)

    def learn_with(self, process_group: ProcessGroup) -> None:
        """Train as one process of a process group from now on."""
        networks = Networks(self._loaded_policy, lambda: self._network, self._load_for_shards, self.dtype)
        self.learning = TrainedPolicy(networks, process_group, in_shares=self._params.trains_sharded)

    def reward(self, name: str) -> Reward:
        """Return a reward by name.

        Raises:
            ValueError: If its files do not fit such a reward.
        """
        if name not in self._rewards:
            self._rewards[name] = load_reward(self._params, name, self.device)
        return self._rewards[name]

    def decoder(self) -> Policy:
        """Return a policy for its `decode`, whatever its weights."""
        return self._loaded_policy().policy

    def do(self, stage: Stage, job: Job) -> Usage:
        """Execute a stage in this process; if `resources.between_stages` is offload, other models leave the device."""
        began = time.process_time()
        self.need(*stage.models)
        begin_peak(self.device)
        stage.load()(job, self)
        return Usage(time.process_time() - began, peak_bytes(self.device))

    def close(self) -> None:
        """Do nothing: there are no other processes."""

    def need(self, *models: Model) -> None:
        """Move these models to the device, and all others off it if `resources.between_stages` is offload."""
        trains_shards = "base" in models and self._params.trains_sharded  # the shards stay on the device
        self._needed = tuple(model for model in models if not (trains_shards and model == "network"))
        self._place()

    def _place(self) -> None:
        if self._params.resources.between_stages == "keep":
            return
        policy = None if self._network is None else self._network.policy
        groups: dict[Model, list[torch.nn.Module | None]] = {
            "network": [None if policy is None else policy.module],
            "base": [None if self._base is None else self._base.module],
            "decoder": [None if policy is None else policy.decoder],
            "rewards": [reward.module for reward in self._rewards.values()],
        }
        for moved in (False, True):  # first off the device, then onto it
            for name, modules in groups.items():
                if (name in self._needed) is moved:
                    for module in filter(None, modules):
                        torch.nn.Module.to(module, self.device if moved else "cpu")
            if self._compute.device.type == "cuda":
                torch.cuda.empty_cache()  # for other processes on the GPU, such as hpsv2's

    def _loaded_policy(self) -> LoadedPolicy:
        if self._network is None:
            needed = self._needed
            self.need("network", "decoder")  # loads onto the device, where a running stage may hold rewards
            self._network = LoadedPolicy(self._load_base(), self._initial_weights)
            self._needed = needed
            if self._network.policy.adapted:
                named = self._network.policy.module.named_parameters()
                self._initial = {name: p.detach().cpu().clone() for name, p in named if p.requires_grad}
            self._place()
        return self._network

    def _load_for_shards(self) -> LoadedPolicy:
        compute = replace(self._compute, device=torch.device("cpu"), compile=False, trained=True)
        return LoadedPolicy(self._base_model.load_policy(compute, seed=self._params.run.seed), self._initial_weights)

    def _initial_weights(self) -> dict[str, Tensor]:
        """Return the weights that a run starts from: an adapter's initial weights, else the base's."""
        if self._initial is not None:
            return self._initial
        aside = replace(self._compute, device=torch.device("cpu"), attention="native", compile=False, trained=True)
        base = self._base_model.load_policy(aside, seed=self._params.run.seed)
        return {name: parameter.detach() for name, parameter in base.module.named_parameters()}

    def _load_base(self) -> Policy:
        return self._base_model.load_policy(self._compute, seed=self._params.run.seed)

    def _embeddings_folder(self) -> Path | None:
        """Return the folder of these encoders' embeddings, named by a digest of everything that changes them."""
        digest = encoder_digest(self._params)
        if digest is None:
            return None
        resources, settings = self._params.resources, dict(self._base_model.encoder_settings)
        parts = [self._params.policy.family, digest, settings, resources.dtype, resources.threads, self.device.type]
        return store_root() / "embeddings" / value_digest(parts)[:16]
