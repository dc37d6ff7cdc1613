"""Flow runs whose process is gone are found whatever they do, and only on their own machine."""

import socket

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Running
from processes import GONE

from flows.prefect_flows import deployed
from flows.services.zombies import HOST, crash, zombies


@pytest.mark.parametrize("flow", [deployed.train, deployed.evaluate, deployed.compare], ids=lambda flow: flow.name)
def test_a_flow_run_that_has_lost_its_process_is_found_and_crashed(prefect_in_process, flow):
    with temporary_settings({PREFECT_API_URL: prefect_in_process}), get_client(sync_client=True) as client:
        here, elsewhere = socket.gethostname(), "another-machine"
        lost, *others = (
            _flow_run(client, flow, host, process)
            for host, process in ((here, GONE), (elsewhere, GONE), (here, psutil.Process().pid))
        )
        found = zombies(client)
        assert [run.id for run in found] == [lost]
        crash(client, found)
        assert client.read_flow_run(lost).state.is_crashed()
        assert zombies(client) == []
        for run in others:
            client.set_flow_run_state(run, Completed())


def _flow_run(client, flow, host, process):
    """The id of a flow run as a worker and the flow's first lines leave it."""
    made = client.create_flow_run(flow, state=Running())
    client.update_flow_run(made.id, infrastructure_pid=str(process))
    client.update_flow_run_labels(made.id, {HOST: host})
    return made.id
