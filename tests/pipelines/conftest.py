import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer
from tiny import TINY
from working_tree import copy_working_tree


class Repository:
    """A clone of this repository as a user has it, its parameters made small; `dvc` and `g2rpo` run in it."""

    def __init__(self, path):
        self.path = path
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "G2RPO_", "MLFLOW_", "PREFECT_"))}
        self.environment = inherited | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "DVC_SITE_CACHE_DIR": str(path.parent / "site"),
            "GIT_CONFIG_GLOBAL": str(path.parent / "gitconfig"),
        }

    @property
    def store(self):
        return self.path / ".g2rpo"

    def run(self, *words, refused=False, within=".", **environment):
        done = subprocess.run(
            words,
            cwd=self.path / within,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode != 0) == refused, done.stdout + done.stderr
        return done.stdout + done.stderr

    def dvc(self, *words, **how):
        return self.run("dvc", *words, **how)

    def g2rpo(self, *words, **how):
        return self.run("python", "-m", "flows", *words, **how)

    def git(self, *words):
        return self.run("git", *words).strip()

    def set(self, **values):
        """Change values of params.yaml, as `set(run__rounds=3)`."""
        file = self.path / "params.yaml"
        tree = yaml.safe_load(file.read_text())
        for name, value in values.items():
            *sections, key = name.split("__")
            functools.reduce(dict.__getitem__, sections, tree)[key] = value
        file.write_text(yaml.safe_dump(tree, sort_keys=False))

    def wipe(self):
        shutil.rmtree(self.store)
        shutil.rmtree(self.path / "outputs")


def make_repository(path):
    """The working tree of this project, committed anew with small parameters."""
    copy_working_tree(path)
    (path.parent / "gitconfig").write_text(
        "[user]\nname = test\nemail = test@example.org\n[init]\ndefaultBranch = main\n"
    )
    repository = Repository(path)
    small = dict(override.split("=", 1) for override in TINY)
    repository.set(**{key.replace(".", "__"): yaml.safe_load(value) for key, value in small.items()})
    repository.git("init", "-q")
    repository.git("add", "-A")
    repository.git("commit", "-qm", "small parameters")
    return repository


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory):
    """A repository after `dvc repro`, its lock committed."""
    repository = make_repository(tmp_path_factory.mktemp("dvc") / "repository")
    repository.dvc("repro")
    repository.git("add", "dvc.lock")
    repository.git("commit", "-qm", "reproduced")
    return repository


@pytest.fixture
def repository(reproduced, tmp_path):
    """A copy of the reproduced repository, for one test to change."""
    shutil.copy(reproduced.path.parent / "gitconfig", tmp_path)
    shutil.copytree(reproduced.path, tmp_path / "repository", symlinks=True)
    return Repository(tmp_path / "repository")


@pytest.fixture
def s3():
    """An S3 server on the loopback with a bucket `runs`, as the environment of a process that uses it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    url = f"http://{host}:{port}"
    boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    ).create_bucket(Bucket="runs")
    yield keys | {"AWS_ENDPOINT_URL": url}
    server.stop()
