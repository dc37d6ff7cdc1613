"""The command line in a process of its own."""

import os
import subprocess
import sys

from tiny import ROOT, TINY


class CommandLine:
    """`g2rpo` as a user runs it: a process of its own, with a store of its own."""

    def __init__(self, store):
        self.store = store
        self.environment = {
            **{
                key: value
                for key, value in os.environ.items()
                if not key.startswith(("PREFECT_API", "MLFLOW_TRACKING"))
            },
            "G2RPO_HOME": str(store),
            "PREFECT_HOME": str(store.with_name("prefect-home")),  # whose parent exists: Prefect makes one folder
        }

    def command(self, *words):
        return [sys.executable, "-m", "flows", *words]

    def train_command(self, *overrides):
        sets = [word for override in (*TINY, *overrides) for word in ("--set", override)]
        return self.command("train", *sets)

    def __call__(self, *words, **environment):
        return subprocess.run(
            self.command(*words),
            cwd=ROOT,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def train(self, *overrides, **environment):
        done = self(*self.train_command(*overrides)[3:], **environment)
        assert done.returncode == 0, done.stderr
        return done

    def run_folder(self):
        (folder,) = (self.store / "runs").iterdir()
        return folder

    def rounds(self):
        """Rounds that the only run of the store has finished; 0 before there is one."""
        heads = list((self.store / "runs").glob("*/HEAD"))
        return int(heads[0].read_text()) if heads else 0
