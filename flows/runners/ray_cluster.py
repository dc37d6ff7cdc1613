"""The Ray cluster of a run: one that is there, or one of this machine for as long as the run takes."""

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

_ELSEWHERE = 600.0  # seconds for a cluster to start a runner: nodes may have to be bought
_HERE = 60.0
_ANSWER = 10.0
_TOLD = ("HF_HOME", "HF_HUB_OFFLINE", "OMP_WAIT_POLICY")
"""What runners on other nodes must know too, where it is set. Not the token of the hub: Ray's pages show this."""


@dataclass(frozen=True)
class Need:
    """What one runner takes. Example: 1 CPU, half a GPU, one `l4`."""

    cpus: float
    gpus: float
    resource: str | None = None


@dataclass(frozen=True)
class Cluster:
    """A connection to a cluster."""

    own: bool
    """Whether it was started for this run and ends with it."""

    @property
    def patience(self) -> float:
        """Seconds to wait for a runner."""
        return _HERE if self.own else _ELSEWHERE

    def start(self, params: Params, need: Need) -> Actor:
        """Start an actor; it is there once its `ready` answers."""
        device = "cuda" if need.gpus else "cpu"
        there = params.with_values({"resources.device": device})
        told = {name: os.environ[name] for name in _TOLD if name in os.environ} | {"G2RPO_HOME": str(store_root())}
        if device == "cpu":  # or torch shares weights over the GPUs that are there
            told["CUDA_VISIBLE_DEVICES"] = ""
        options: dict[str, Any] = {
            "num_cpus": need.cpus,
            "num_gpus": need.gpus,
            "resources": {need.resource: 1} if need.resource else None,
            "max_restarts": 0,
            "runtime_env": {"env_vars": told},
        }
        return ray.remote(RayActor).options(**options).remote(there, str(Path.cwd()))

    def leave(self) -> None:
        """Disconnect, ending a cluster of one's own."""
        if self.own:
            ray.shutdown()


def runner_needs(asked: PlacementParams) -> list[Need]:
    """Return what each of the runners takes."""
    return [Need(asked.cpus_per_runner, asked.gpus_per_runner)] * asked.num_runners


def scorer_needs(asked: PlacementParams) -> list[Need]:
    """Return what each of those takes that do nothing but score; none where the runners do."""
    chosen = asked.scorers
    if chosen is None:
        return []
    return [Need(asked.cpus_per_runner, chosen.gpus_per_runner, chosen.resource)] * chosen.num_runners


def start_here(num_cpus: int, resources: dict[str, float] | None = None) -> None:
    """Make this machine a cluster, which ends with this process."""
    _join(address="local", num_cpus=num_cpus, resources=resources, include_dashboard=False)


def connect(params: Params) -> Cluster:
    """Join the cluster that params.yaml or RAY_ADDRESS names, or start one on this machine.

    Raises:
        ValueError: If none answers, or this machine has too few GPUs.
    """
    if ray.is_initialized():
        return Cluster(own=False)
    wanted = [*runner_needs(params.placement), *scorer_needs(params.placement)]
    address = params.placement.address or os.environ.get("RAY_ADDRESS")
    if address:
        try:
            _require_answer(address)
            _join(address=address)
        except (OSError, RuntimeError) as error:
            raise ValueError(
                f"placement.address: a Ray cluster is required at {address}, got {error}. Start it, as by `ray start "
                "--head`, or set placement.address to null for one on this machine."
            ) from error
        return Cluster(own=False)
    cpus = max(1, math.ceil(sum(need.cpus for need in wanted)))
    custom = {need.resource: float(len(wanted)) for need in wanted if need.resource}
    start_here(cpus, custom)
    there, gpus = ray.cluster_resources().get("GPU", 0.0), sum(need.gpus for need in wanted)
    if gpus > there:
        ray.shutdown()
        raise ValueError(
            f"placement: {gpus:g} GPUs are required for these runners, got {there:g} on this machine. Lower "
            "placement.num_runners, set placement.gpus_per_runner to 0, or name a cluster in placement.address."
        )
    return Cluster(own=True)


def _join(**how: Any) -> None:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(log_to_driver=False, logging_level=logging.ERROR, **how)


def _require_answer(address: str) -> None:
    """Refuse an address at which nobody listens: Ray itself tries for minutes.

    Raises:
        OSError: With what the system says.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_ANSWER).close()
