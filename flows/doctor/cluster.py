"""The Ray cluster, where one is asked for: whether it answers, has room, and sees store and packages alike."""

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

_ALIKE = ("torch", "diffusers", "ray")
_SECONDS = 60


def cluster(params: Params) -> Iterator[Check]:
    """Join the cluster, count what it has, and have each node say what it sees."""
    if params.placement.runner == "local":
        yield Check("cluster", "ok", "none is asked for: all stages run in one process")
        return
    try:
        from flows.runners.ray_cluster import connect
    except ImportError as error:
        remedy = "Install it, as by `pip install --editable '.[ray]'`."
        yield Check("cluster", "fault", f"Ray is not there: {error}", remedy)
        return
    try:
        joined = connect(params)
    except ValueError as error:
        told, _, remedy = str(error).partition(". ")
        yield Check("cluster", "fault", told, remedy)
        return
    try:
        yield from _room(params)
        yield from _nodes()
    finally:
        joined.leave()


def _room(params: Params) -> Iterator[Check]:
    """Compare what the runners take with what the cluster has in all."""
    import ray

    from flows.runners.ray_cluster import runner_needs, scorer_needs

    asked, there = Counter[str](), ray.cluster_resources()
    for need in (*runner_needs(params.placement), *scorer_needs(params.placement)):
        asked.update({"CPU": need.cpus, "GPU": need.gpus} | ({need.resource: 1} if need.resource else {}))
    short = [
        f"{name} {count:g} of {there.get(name, 0):g}" for name, count in asked.items() if count > there.get(name, 0)
    ]
    if short:
        remedy = (
            "Lower placement.num_runners or what each takes, or add nodes; one that scales by itself may yet have room."
        )
        yield Check("cluster", "fault", f"the runners take more than there is: {', '.join(short)}", remedy)
    else:
        told = ", ".join(f"{name} {count:g} of {there.get(name, 0):g}" for name, count in asked.items() if count)
        yield Check("cluster", "ok", f"the runners take {told}")


def _nodes() -> Iterator[Check]:
    """Have each node look for a file of the store, and tell its versions."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    dead = [node["NodeManagerHostname"] for node in ray.nodes() if not node["Alive"]]
    if dead:
        yield Check("nodes", "warn", f"the cluster has lost {', '.join(dead)}", "Start them again, or go on without.")
    here = {name: _public_version(name) for name in _ALIKE}
    store_root().mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(prefix="doctor-", dir=store_root()) as mark:
        for node in (node for node in ray.nodes() if node["Alive"]):
            where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            look = ray.remote(_look).options(num_cpus=0, scheduling_strategy=where)
            said: dict[str, Any] = ray.get(look.remote(mark.name), timeout=_SECONDS)
            yield _node(said, here)


def _node(said: dict[str, Any], here: dict[str, str]) -> Check:
    name = f"node {said['host']}"
    if not said["sees"]:
        remedy = "Have the store on a file system that all nodes mount at the same path, and name it in G2RPO_HOME."
        return Check(name, "fault", f"it does not see {store_root()}", remedy)
    other = [f"{of} {said[of]}, here {own}" for of, own in here.items() if said[of] != own]
    if other:
        return Check(
            name, "fault", f"it has {'; '.join(other)}", "Install the same versions, as constraints.txt has them."
        )
    return Check(name, "ok", "it sees the store and has the same versions")


def _look(mark: str) -> dict[str, Any]:
    """Return what a node sees; it runs there."""
    os.listdir(Path(mark).parent)  # a network file system then asks its server
    found: dict[str, Any] = {"host": socket.gethostname(), "sees": Path(mark).is_file()}
    for name in _ALIKE:
        try:
            found[name] = _public_version(name)
        except Exception:  # not there, or not to be told
            found[name] = "none"
    return found


def _public_version(name: str) -> str:
    """Return the version of a package without its local label: `+cpu` and `+cu130` are builds of one torch."""
    return version(name).partition("+")[0]
