"""`g2rpo up` in a store of its own, and what a person does with it."""

import json
import shlex
import subprocess
import sys
from functools import partial

from logged_in import session_of
from tiny import ROOT, TINY
from waiting import wait_for

from stages.params.yaml import parse
from stages.store.run import Run


def overrides_of(*words):
    """TINY with more overrides, as the mapping that a deployed flow takes."""
    values = dict(word.split("=", 1) for word in (*TINY, *words))
    return {key: parse(value.encode(), key) for key, value in values.items()}


class Up:
    """The servers and the worker of a store."""

    def __init__(self, g2rpo):
        self.g2rpo = g2rpo
        self.start()

    def start(self):
        done = self.g2rpo("up")
        assert done.returncode == 0, done.stderr
        said = self.g2rpo("status", "--env").stdout
        self.environment = dict(line.split("=", 1) for line in shlex.split(said) if line != "export")
        self.api, self.mlflow = (self.environment[name] for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"))
        self.http = session_of(self.environment)
        return done

    def services(self):
        return {one["name"]: one for one in json.loads(self.g2rpo("status", "--json").stdout)}

    def prefect(self, *words):
        command = [sys.executable, "-m", "prefect", *words]
        environment = self.g2rpo.environment | self.environment
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    def post(self, path, asked):
        answer = self.http.post(f"{self.api}/{path}", json=asked, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def run_deployment(self, name, **parameters):
        """As `prefect deployment run` does; return the flow run's id."""
        words = [word for key, value in parameters.items() for word in ("--param", f"{key}={json.dumps(value)}")]
        done = self.prefect("deployment", "run", name, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.split("UUID: ")[1].split()[0]

    def flow_run(self, flow_run_id):
        return self.http.get(f"{self.api}/flow_runs/{flow_run_id}", timeout=60).json()

    def state(self, flow_run_id):
        return self.flow_run(flow_run_id)["state_type"]

    def ends(self, flow_run_id, state):
        wait_for(partial(self._is, flow_run_id, state))

    def _is(self, flow_run_id, state):
        return self.state(flow_run_id) == state

    def run(self):
        return Run(self.g2rpo.run_folder())
