"""The Ray cluster, if the runners need one: its answer, its room, and the store and versions of its nodes."""

import os
import socket
import tempfile
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flows.doctor.check import Check
from stages.disk.root import store_root
from stages.params.record import Params

_SAME_VERSION = ("torch", "diffusers", "ray")
_SECONDS = 60


def cluster(params: Params) -> Iterator[Check]:
    """Join the cluster, compare its resources with those required, and check each node."""
    if params.placement.runner == "local":
        yield Check("cluster", "ok", "none is required: all stages run in one process")
        return
    try:
        from flows.runners.ray_cluster import connect
    except ImportError as error:
        remedy = "Install it, for example by `pip install --editable '.[ray]'`."
        yield Check("cluster", "fault", f"Ray is not installed: {error}", remedy)
        return
    try:
        joined = connect(params)
    except ValueError as error:
        message, _, remedy = str(error).partition(". ")
        yield Check("cluster", "fault", message, remedy)
        return
    try:
        yield from _room(params)
        yield from _nodes()
    finally:
        joined.leave()


def _room(params: Params) -> Iterator[Check]:
    """Compare the resources of the runners with those of the cluster."""
    import ray

    from flows.runners.ray_cluster import runner_needs, scorer_needs

    required, available = Counter[str](), ray.cluster_resources()
    for need in (*runner_needs(params.placement), *scorer_needs(params.placement)):
        required.update({"CPU": need.cpus, "GPU": need.gpus} | ({need.resource: 1} if need.resource else {}))
    short = [
        f"{name} {count:g} of {available.get(name, 0):g}"
        for name, count in required.items()
        if count > available.get(name, 0)
    ]
    if short:
        remedy = "Lower placement.num_runners or the resources of each, or add nodes (autoscaling may still do so)."
        yield Check("cluster", "fault", f"the runners need more than the cluster has: {', '.join(short)}", remedy)
    else:
        shares = ", ".join(
            f"{name} {count:g} of {available.get(name, 0):g}" for name, count in required.items() if count
        )
        yield Check("cluster", "ok", f"the runners take {shares}")


def _nodes() -> Iterator[Check]:
    """Check that each node sees a file of the store and has the same versions."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    dead = [node["NodeManagerHostname"] for node in ray.nodes() if not node["Alive"]]
    if dead:
        yield Check(
            "nodes", "warn", f"the cluster has lost {', '.join(dead)}", "Start them again, or continue without them."
        )
    here = {name: _public_version(name) for name in _SAME_VERSION}
    store_root().mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(prefix="doctor-", dir=store_root()) as mark:
        for node in (node for node in ray.nodes() if node["Alive"]):
            where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            look = ray.remote(_look).options(num_cpus=0, scheduling_strategy=where)
            seen: dict[str, Any] = ray.get(look.remote(mark.name), timeout=_SECONDS)
            yield _node(seen, here)


def _node(seen: dict[str, Any], here: dict[str, str]) -> Check:
    name = f"node {seen['host']}"
    if not seen["sees"]:
        remedy = "Put the store on a file system that all nodes mount at the same path, and set G2RPO_HOME to it."
        return Check(name, "fault", f"it does not see {store_root()}", remedy)
    other = [f"{package} {seen[package]}, here {own}" for package, own in here.items() if seen[package] != own]
    if other:
        return Check(
            name, "fault", f"it has {'; '.join(other)}", "Install the same versions, as constraints.txt has them."
        )
    return Check(name, "ok", "it sees the store and has the same versions")


def _look(mark: str) -> dict[str, Any]:
    """Return the host, the versions, and whether the file is visible. It runs on the node."""
    os.listdir(Path(mark).parent)  # so that a network file system asks its server
    seen: dict[str, Any] = {"host": socket.gethostname(), "sees": Path(mark).is_file()}
    for name in _SAME_VERSION:
        try:
            seen[name] = _public_version(name)
        except Exception:  # not installed, or not readable
            seen[name] = "none"
    return seen


def _public_version(name: str) -> str:
    """Return the version of a package without its local label: `+cpu` and `+cu130` are builds of one torch."""
    return version(name).partition("+")[0]
