"""The Ray cluster of a run: an existing one, or one on this machine that ends with the run."""

import logging
import math
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from flows.runners.ray_actor import RayActor
from flows.runners.ray_pool import Actor
from stages.disk.root import store_root
from stages.params.placement import PlacementParams
from stages.params.record import Params

_EXISTING_SECONDS = 600.0  # for an existing cluster to start a runner: it may have to add nodes
_OWN_SECONDS = 60.0
_ANSWER_SECONDS = 10.0
_FORWARDED = ("HF_HOME", "HF_HUB_OFFLINE", "OMP_WAIT_POLICY")
"""Variables of the environment that runners on other nodes get too. Not the hub's token: Ray's pages show them."""


@dataclass(frozen=True)
class Need:
    """LoadedModels of one runner. Example: 1 CPU, half a GPU, one `l4`."""

    cpus: float
    gpus: float
    resource: str | None = None


@dataclass(frozen=True)
class Cluster:
    """A connection to a cluster."""

    own: bool
    """Whether this run has started it; it then ends with the run."""

    @property
    def patience(self) -> float:
        """Seconds to wait for a runner."""
        return _OWN_SECONDS if self.own else _EXISTING_SECONDS

    def start(self, params: Params, need: Need) -> Actor:
        """Start an actor; it is up once its `ready` returns."""
        device = "cuda" if need.gpus else "cpu"
        on_device = params.with_values({"resources.device": device})
        environment = {name: os.environ[name] for name in _FORWARDED if name in os.environ} | {
            "G2RPO_HOME": str(store_root())
        }
        if device == "cpu":  # or torch shares weights over the node's GPUs
            environment["CUDA_VISIBLE_DEVICES"] = ""
        options: dict[str, Any] = {
            "num_cpus": need.cpus,
            "num_gpus": need.gpus,
            "resources": {need.resource: 1} if need.resource else None,
            "max_restarts": 0,
            "runtime_env": {"env_vars": environment},
        }
        return ray.remote(RayActor).options(**options).remote(on_device, str(Path.cwd()))

    def leave(self) -> None:
        """Disconnect; end the cluster if this run has started it."""
        if self.own:
            ray.shutdown()


def runner_needs(placement: PlacementParams) -> list[Need]:
    """Return the resources of each runner."""
    return [Need(placement.cpus_per_runner, placement.gpus_per_runner)] * placement.num_runners


def scorer_needs(placement: PlacementParams) -> list[Need]:
    """Return the resources of each runner that only scores; empty if the other runners score."""
    scorers = placement.scorers
    if scorers is None:
        return []
    return [Need(placement.cpus_per_runner, scorers.gpus_per_runner, scorers.resource)] * scorers.num_runners


def start_here(num_cpus: int, resources: dict[str, float] | None = None) -> None:
    """Start a cluster on this machine, which ends with this process."""
    _join(address="local", num_cpus=num_cpus, resources=resources, include_dashboard=False)


def connect(params: Params) -> Cluster:
    """Join the cluster that params.yaml or RAY_ADDRESS names, or start one on this machine.

    Raises:
        ValueError: If the cluster does not answer, or this machine has too few GPUs.
    """
    if ray.is_initialized():
        return Cluster(own=False)
    needs = [*runner_needs(params.placement), *scorer_needs(params.placement)]
    address = params.placement.address or os.environ.get("RAY_ADDRESS")
    if address:
        try:
            _require_answer(address)
            _join(address=address)
        except (OSError, RuntimeError) as error:
            raise ValueError(
                f"placement.address: a Ray cluster is required at {address}, got {error}. Start it, for example by "
                "`ray start --head`, or set placement.address to null for one on this machine."
            ) from error
        return Cluster(own=False)
    cpus = max(1, math.ceil(sum(need.cpus for need in needs)))
    custom = {need.resource: float(len(needs)) for need in needs if need.resource}
    start_here(cpus, custom)
    available, gpus = ray.cluster_resources().get("GPU", 0.0), sum(need.gpus for need in needs)
    if gpus > available:
        ray.shutdown()
        raise ValueError(
            f"placement: {gpus:g} GPUs are required for these runners, got {available:g} on this machine. Lower "
            "placement.num_runners, set placement.gpus_per_runner to 0, or name a cluster in placement.address."
        )
    return Cluster(own=True)


def _join(**options: Any) -> None:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)


def _require_answer(address: str) -> None:
    """Refuse an address at which nothing listens: Ray itself would try for minutes.

    Raises:
        OSError: The error of the system.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS).close()
