import logging
import os
import socket
from pathlib import Path

import pytest
from tiny import tiny_params

from flows.runners.ray_cluster import Cluster, Need, connect, runner_needs, scorer_needs, start_here

TWO = ("placement.runner=ray", "placement.num_runners=2")
SCORERS = "placement.scorers={num_runners: 3, gpus_per_runner: 0, resource: l4}"
QUIET = {"log_to_driver": False, "logging_level": logging.ERROR}


@pytest.fixture(autouse=True)
def no_address(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def own(num_cpus, resources):
    """How a cluster of this machine is started."""
    return {"address": "local", "num_cpus": num_cpus, "resources": resources, "include_dashboard": False} | QUIET


def test_runners_elsewhere_are_waited_for_longer():
    assert (Cluster(own=True).patience, Cluster(own=False).patience) == (60.0, 600.0)


def test_a_cluster_of_ones_own_ends_and_another_goes_on(here):
    start_here(2)
    Cluster(own=False).leave()
    assert here.is_initialized()
    Cluster(own=True).leave()
    assert not here.is_initialized()


def test_each_runner_needs_what_params_say_and_so_does_each_scorer():
    asked = tiny_params(*TWO, "placement.cpus_per_runner=2", SCORERS).placement
    assert runner_needs(asked) == [Need(2.0, 0), Need(2.0, 0)]
    assert scorer_needs(asked) == [Need(2.0, 0, "l4")] * 3
    assert scorer_needs(tiny_params(*TWO).placement) == []


def test_this_machine_is_made_a_cluster_without_a_page_and_without_telling_anybody(here):
    start_here(3, {"l4": 2.0})
    assert here.joined == [own(3, {"l4": 2.0})]
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] == "0"


def test_an_actor_takes_what_is_needed_and_is_told_what_it_must_know(here, monkeypatch, tmp_path):
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", "/models")
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    on_cpu = Cluster(own=True).start(tiny_params(), Need(2.0, 0.0, "l4"))
    told = {"HF_HOME": "/models", "G2RPO_HOME": str(tmp_path)}
    assert on_cpu.options == {
        "num_cpus": 2.0,
        "num_gpus": 0.0,
        "resources": {"l4": 1},
        "max_restarts": 0,
        "runtime_env": {"env_vars": told | {"CUDA_VISIBLE_DEVICES": ""}},
    }
    assert here.get(on_cpu.ready.remote()) == f"{socket.gethostname()}, process {os.getpid()}, cpu"
    on_card = Cluster(own=True).start(tiny_params(), Need(1.0, 0.5))
    assert (on_card.options["num_gpus"], on_card.options["resources"]) == (0.5, None)
    assert on_card.options["runtime_env"] == {"env_vars": told}
    params, folder = on_card.words
    assert (params.resources.device, folder) == ("cuda", str(Path.cwd()))


def test_without_an_address_a_cluster_of_this_machine_has_room_for_all(here):
    assert connect(tiny_params(*TWO, SCORERS, "placement.cpus_per_runner=0.5")) == Cluster(own=True)
    assert here.joined == [own(3, {"l4": 5.0})]


def test_a_cluster_that_this_process_is_in_is_taken(here):
    here.init(address="elsewhere")
    assert connect(tiny_params(*TWO)) == Cluster(own=False)
    assert len(here.joined) == 1


def test_more_cards_than_this_machine_has_are_refused_and_nothing_is_left(here):
    here.there["GPU"] = 1.0
    asked = tiny_params(*TWO, "placement.gpus_per_runner=1", "resources.device=auto")
    with pytest.raises(ValueError, match=r"2 GPUs are required for these runners, got 1 on this machine. Lower"):
        connect(asked)
    assert not here.is_initialized()
    here.there["GPU"] = 2.0
    assert connect(asked) == Cluster(own=True)


def test_a_named_cluster_is_joined_if_somebody_listens_there(here, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"ray://127.0.0.1:{server.getsockname()[1]}"
        assert connect(tiny_params(*TWO, f"placement.address={address}")) == Cluster(own=False)
        here.shutdown()
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert connect(tiny_params(*TWO)) == Cluster(own=False)
    assert here.joined == [{"address": address} | QUIET]
    here.shutdown()
    assert connect(tiny_params(*TWO, "placement.address=auto")) == Cluster(own=False)


def test_a_named_cluster_where_nobody_listens_is_refused_with_a_remedy(here):
    told = r"placement.address: a Ray cluster is required at 127.0.0.1:1, got .* Start it, .* `ray start --head`"
    with pytest.raises(ValueError, match=told):
        connect(tiny_params(*TWO, "placement.address=127.0.0.1:1"))
    assert not here.is_initialized()
