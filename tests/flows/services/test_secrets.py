"""After runs with a dozen secrets in the environment and in addresses, none stands where another could read it."""

import base64
import contextlib
import os
import signal
import stat
import subprocess
import threading
import types

import httpx
import psutil
import pytest
from command_line import CommandLine
from services import Up, overrides_of
from tiny import ROOT, TINY

pytestmark = pytest.mark.slow

NAMES = (
    *("HF_TOKEN", "GITHUB_TOKEN", "OPENAI_API_KEY", "WANDB_API_KEY", "DVC_STUDIO_TOKEN", "PGPASSWORD", "MYSQL_PWD"),
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_KEY", "G2RPO_TOKEN_JUDGE"),
)
ADDRESSES = {
    "http_proxy": "http://lead:{}@127.0.0.1:9",
    "https_proxy": "http://lead:{}@127.0.0.1:9",
    "PIP_INDEX_URL": "https://lead:{}@packages.example/simple",
    "GIT_CONFIG_VALUE_0": "https://lead:{}@git.example/g2rpo.git",
}
ELSEWHERE = {
    "MLFLOW_TRACKING_URI": "postgresql://lead:{}@127.0.0.1:9/mlflow",
    "PREFECT_API_URL": "http://lead:{}@127.0.0.1:9/api",
}
"""Servers that are not there; each is given to some commands alone."""
SECRETS = {name: f"s3cret{number}{'x' * 20}" for number, name in enumerate([*NAMES, *ADDRESSES, *ELSEWHERE, "typed"])}
VARIABLES = {name: SECRETS[name] for name in NAMES} | {
    name: address.format(SECRETS[name]) for name, address in ADDRESSES.items()
}
SETS = [word for override in TINY for word in ("--set", override)]


class Witness(threading.Thread):
    """Notes each command line that any process of the machine has while it looks."""

    def __init__(self):
        super().__init__(daemon=True)
        self.seen, self.over = set(), threading.Event()

    def run(self):
        while not self.over.wait(0.2):
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error):
                    self.seen.add("\0".join(process.cmdline()))


@contextlib.contextmanager
def judge(command, said):
    """The address of a reward server with a token, and its revision."""
    words = ["serve-reward", "rule_soft", "--token-env", "G2RPO_TOKEN_JUDGE", "--set", "resources.device=cpu"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command.command(*words), cwd=ROOT, env=command.environment, **pipes) as process:
        url = process.stdout.readline().strip()
        login = {"Authorization": f"Bearer {SECRETS['G2RPO_TOKEN_JUDGE']}"}
        try:
            with httpx.Client(trust_env=False) as client:
                yield url, client.get(f"{url}/v1/reward", headers=login).json()["revision"]
        finally:
            process.send_signal(signal.SIGINT)
            said.extend(process.communicate())


@contextlib.contextmanager
def up_with(command):
    servers = Up(command)
    try:
        yield servers
    finally:
        command("down")


@pytest.fixture(scope="module")
def after(tmp_path_factory):
    """What commands have left behind: folders, what they said, command lines, the login of the servers."""
    folder = tmp_path_factory.mktemp("secrets")
    places = {name: folder / name for name in ("home", "tmp", "out")}
    for place in places.values():
        place.mkdir()
    command, said, witness = CommandLine(folder / "store"), [], Witness()
    command.environment |= VARIABLES | {"HOME": str(places["home"]), "TMPDIR": str(places["tmp"])}
    command.environment |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "remote.origin.url"}

    def say(*words, fails=False, **environment):
        done = command(*words, **environment)
        said.extend((done.stdout, done.stderr))
        assert words[0] == "doctor" or (done.returncode != 0) == fails, (words, done.stdout, done.stderr)

    witness.start()
    with up_with(command) as up:
        with judge(command, said) as (url, revision):
            remote = f"{{kind: remote, url: '{url}', model: rule_soft, revision: {revision}, batch: 64, retries: 0, "
            remote += "timeout: 60, token_env: G2RPO_TOKEN_JUDGE}"
            judged = [f"rewards.judge={remote}", "score.rewards=[judge]", "integrate.reward_weights={judge: 1.0}"]
            judged += ["evaluate.rewards=[judge, rule_soft]"]
            say("train", *SETS, *(word for one in judged for word in ("--set", one)), **up.environment)
            up.ends(up.run_deployment("train/demo", overrides=overrides_of("run.seed=7")), "COMPLETED")
        use(up, say, places["out"])
        said.append(up.http.get(f"{up.api}/admin/settings", timeout=60).text)
    witness.over.set()
    witness.join()
    typing = {line for line in witness.seen if SECRETS["typed"] in line and "--set" in line}
    return types.SimpleNamespace(folder=folder, said=said, lines=witness.seen - typing, login=up.http.auth[1])


def use(up, say, out):
    """What else a person does, also with servers that are not there and with addresses that are refused."""
    run = ("--run", "newest")
    for words in (["doctor"], ["plan", *SETS], ["status"], ["list"], ["logs", *run], ["logs", "--service", "worker"]):
        say(*words, **up.environment)
    say("verify", *run, **up.environment)
    say("report", *run, "--out", str(out / "report"), **up.environment)
    say("export", *run, "--to", str(out / "export"), "--register", "shapes", **up.environment)
    for name, address in ELSEWHERE.items():
        gone = up.environment | {name: address.format(SECRETS[name])}
        say("train", *SETS, fails=True, **gone)
        say("doctor", **gone)
        say("sync", *run, fails=name.startswith("MLFLOW"), **gone)
    typed = ADDRESSES["http_proxy"].format(SECRETS["typed"])
    for key in ("tracking.uri", "rewards.judge.url", "policy.path", "prompts.path", "no.such_key"):
        say("train", *SETS, "--set", f"{key}={typed}", fails=True)


def forms_of(name, secret):
    """How a secret may be written: as it is, or within the header of a login."""
    users = ("lead", "g2rpo") if name != "login" else ("g2rpo",)
    return [secret.encode(), *(base64.b64encode(f"{user}:{secret}".encode()).rstrip(b"=")[:-1] for user in users)]


def found(after, content):
    secrets = SECRETS | {"login": after.login}
    return {name for name, secret in secrets.items() if any(form in content for form in forms_of(name, secret))}


def test_no_message_and_no_command_line_tells_one(after):
    assert not {(text[:2000], *names) for text in after.said if (names := found(after, text.encode()))}
    assert any("flows.tracking.server" in line for line in after.lines)
    assert not {(line, *names) for line in after.lines if (names := found(after, line.encode()))}


def test_no_file_of_store_home_reports_exports_or_databases_has_one_but_the_login_which_is_closed(after):
    files = [path for path in after.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    names = {path.name for path in files}
    assert {"prefect.db", "mlflow.db", "run.json", "worker.log", "prefect.log", "mlflow.log"} <= names
    holding = {str(path.relative_to(after.folder)): found(after, path.read_bytes()) for path in files}
    assert {name: kinds for name, kinds in holding.items() if kinds} == {"store/services/login": {"login"}}
    assert stat.S_IMODE(os.stat(after.folder / "store/services/login").st_mode) == 0o600
