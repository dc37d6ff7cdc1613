"""The looks themselves; a real cluster is looked at by tests/flows/runners/test_ray_executor.py."""

import socket
from importlib.metadata import version

import pytest
from tiny import tiny_params

from flows.doctor.check import Check
from flows.doctor.cluster import _look, _node, _public_version, cluster

RAY = ("placement.runner=ray", "placement.num_runners=3")
ALIKE = ("torch", "diffusers", "ray")


@pytest.fixture
def joined(monkeypatch):
    """A cluster that this process has joined: it has four CPUs, and all its nodes are lost."""
    nodes = [{"Alive": False, "NodeManagerHostname": name} for name in ("one", "two")]
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 4.0})
    monkeypatch.setattr("ray.nodes", lambda: nodes)


def test_no_cluster_is_looked_at_where_none_is_asked_for():
    told = "none is required: all stages run in one process"
    assert list(cluster(tiny_params())) == [Check("cluster", "ok", told)]


def test_a_cluster_that_does_not_answer_is_told_with_its_remedy():
    (fault,) = cluster(tiny_params(*RAY, "placement.address=127.0.0.1:1"))
    assert (fault.name, fault.state) == ("cluster", "fault")
    assert "placement.address: a Ray cluster is required at 127.0.0.1:1, got" in fault.message
    assert fault.remedy.startswith("Start it, for example by `ray start --head`")


def test_without_ray_the_package_to_install_is_told(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "flows.runners.ray_cluster", None)
    (fault,) = cluster(tiny_params(*RAY))
    assert fault.message.startswith("Ray is not installed: ")
    assert "pip install --editable '.[ray]'" in fault.remedy


def test_a_cluster_with_room_that_has_lost_nodes_is_warned_of(joined, store):
    room, lost = cluster(tiny_params(*RAY))
    assert room == Check("cluster", "ok", "the runners take CPU 3 of 4")
    assert lost == Check(
        "nodes", "warn", "the cluster has lost one, two", "Start them again, or continue without them."
    )
    assert list(store.iterdir()) == []


def test_a_cluster_with_too_little_room_says_what_lacks(joined):
    scorers = "placement.scorers={num_runners: 2, gpus_per_runner: 0.5, resource: l4}"
    fault = next(cluster(tiny_params(*RAY, scorers)))
    assert (fault.name, fault.state) == ("cluster", "fault")
    assert fault.message == "the runners need more than the cluster has: CPU 5 of 4, GPU 1 of 0, l4 2 of 0"
    assert fault.remedy.startswith("Lower placement.num_runners or the resources of each, or add nodes")


def test_a_node_that_does_not_see_the_store_or_has_other_versions_is_a_fault(store):
    here = {"torch": "2.9.0", "ray": "2.50.0"}
    assert _node({"host": "a", "sees": True, **here}, here).state == "ok"
    blind = _node({"host": "a", "sees": False, **here}, here)
    assert (blind.name, blind.state, blind.message) == ("node a", "fault", f"it does not see {store}")
    assert "set G2RPO_HOME to it" in blind.remedy
    other = _node({"host": "a", "sees": True, "torch": "2.9.0", "ray": "none"}, here)
    assert (other.state, other.message) == ("fault", "it has ray none, here 2.50.0")
    assert "constraints.txt" in other.remedy


def test_a_node_sees_a_file_that_is_there_and_tells_the_versions_of_its_packages(tmp_path):
    (tmp_path / "mark").touch()
    versions = {name: version(name).split("+")[0] for name in ALIKE}
    assert _look(str(tmp_path / "mark")) == {"host": socket.gethostname(), "sees": True, **versions}
    assert _look(str(tmp_path / "none"))["sees"] is False


def test_a_node_without_a_package_says_so_and_builds_of_one_version_are_alike(tmp_path, monkeypatch):
    monkeypatch.setattr("flows.doctor.cluster.version", {"torch": "2.9.0+cu130", "ray": "2.50.0"}.__getitem__)
    said = _look(str(tmp_path / "mark"))
    assert {name: said[name] for name in ALIKE} == {"torch": "2.9.0", "diffusers": "none", "ray": "2.50.0"}
    assert _public_version("torch") == "2.9.0"
