"""What strangers get at the servers of `g2rpo up`: another user of the machine, and a page of another address."""

import json
import os
import subprocess
import tempfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import requests
from browser import chromium
from command_line import CommandLine
from http_here import answering
from services import Up

pytestmark = pytest.mark.slow

OTHER = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
"""Another user. Only root can become one; for others, a request without the login is all that there is to try."""
PAGES = (None, {"Origin": "http://evil.example"}, {"Host": "evil.example"})


@pytest.fixture(scope="module")
def up():
    """The servers of a store that every user can enter, unlike one in pytest's folders."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        servers = Up(CommandLine(Path(folder) / "store"))
        yield servers
        servers.g2rpo("down")


def as_another_user(*words):
    """What a command of another user says."""
    done = subprocess.run(words, cwd="/", capture_output=True, text=True, check=False, **OTHER)
    return done.stdout.strip() if done.returncode == 0 else done.stderr


def status(url, headers, *words):
    told = [word for pair in (headers or {}).items() for word in ("-H", ": ".join(pair))]
    return as_another_user("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *told, *words, url)


def start_of_a_run(up):
    """The address that starts a flow run, with a command of one's own."""
    demo = next(one for one in up.post("deployments/filter", {}) if one["name"] == "demo")
    return f"{up.api}/deployments/{demo['id']}/create_flow_run"


def made(up):
    """Flow runs and experiments that the servers have."""
    runs = up.post("flow_runs/filter", {})
    found = up.http.get(f"{up.mlflow}/api/2.0/mlflow/experiments/search?max_results=99", timeout=60).json()
    return sorted(run["id"] for run in runs), sorted(one["name"] for one in found["experiments"])


@pytest.mark.parametrize("headers", PAGES, ids=str)
def test_another_user_gets_nothing_but_health_whatever_the_headers(up, headers):
    before = made(up)
    assert status(f"{up.api}/health", headers) == status(f"{up.mlflow}/health", headers) == "200"
    body = ("-H", "Content-Type: application/json", "-d")
    asked = [
        (start_of_a_run(up), *body, '{"job_variables": {"command": "touch /tmp/planted"}}'),
        (f"{up.api}/flow_runs/filter", *body, "{}"),
        (f"{up.api}/block_documents/filter", *body, "{}"),
        (f"{up.api}/admin/version",),
        (f"{up.api}/admin/settings",),
        (f"{up.mlflow}/",),
        (f"{up.mlflow}/version",),
        (f"{up.mlflow}/api/2.0/mlflow/experiments/search?max_results=1",),
        (f"{up.mlflow}/api/2.0/mlflow/experiments/create", *body, '{"name": "planted"}'),
        (f"{up.mlflow}/api/2.0/mlflow-artifacts/artifacts/x", "-T", "/etc/hostname"),
        (f"{up.mlflow}/ajax-api/3.0/mlflow/assistant/config",),
    ]
    got = {url: status(url, headers, *words) for url, *words in asked}
    assert not {url: code for url, code in got.items() if code not in ("401", "403")}
    assert made(up) == before


def test_another_user_finds_the_secret_nowhere(up):
    name, secret = up.http.auth
    assert name == "g2rpo"
    listed = as_another_user("ps", "-eww", "-o", "args")
    assert "flows.tracking.server" in listed
    assert secret not in listed
    for file in up.g2rpo.store.rglob("*"):
        if file.is_file() and secret.encode() in file.read_bytes():
            assert file == up.g2rpo.store / "services/login"
    if OTHER:
        assert "mlflow.db" in as_another_user("ls", str(up.g2rpo.store))  # the store itself is open
        hidden = ["services/login", "services/mlflow.json", "services/prefect.log", "prefect/prefect.db"]
        for file in hidden:
            assert "Permission denied" in as_another_user("cat", str(up.g2rpo.store / file))
        for service in up.services().values():
            assert "Permission denied" in as_another_user("cat", f"/proc/{service['pid']}/environ")


ATTACK = """
<script>
const body = JSON.stringify(BODY)
const json = {"Content-Type": "application/json"}
const ways = [
  {headers: json, body}, {headers: json, body, credentials: "include"},
  {mode: "no-cors", body, credentials: "include"}, {mode: "no-cors", body: new Blob([body]), credentials: "include"},
]
async function attack() {
  let read = 0
  for (const url of URLS) for (const way of ways)
    try { read += (await fetch(url, {method: "POST", ...way})).ok } catch {}
  for (const url of URLS) {
    const frame = document.createElement("iframe"), form = document.createElement("form")
    frame.name = form.target = url; form.action = url; form.method = "POST"; form.enctype = "text/plain"
    const field = document.createElement("input")
    field.name = body.slice(0, -1) + ', "more": "'; field.value = '"}'
    form.append(field); document.body.append(frame, form)
    const loaded = new Promise(resolve => { frame.onload = resolve })
    form.submit(); await loaded
  }
  document.title = `read ${read}`
}
addEventListener("load", attack)
</script>
"""

MINE = """async url => {
  const headers = {"Content-Type": "application/json"}
  return (await fetch(url, {method: "POST", headers, body: '{"name": "mine"}'})).status
}"""


@contextmanager
def page_of(text):
    """The address of a page of another port of the loopback, which another user may serve."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    with answering(Handler) as url:
        yield f"{url}/"


def test_a_page_of_another_address_creates_nothing_in_the_browser_of_a_person_who_has_logged_in(up):
    create = [f"{up.mlflow}/{api}/2.0/mlflow/experiments/create" for api in ("api", "ajax-api")]
    urls, body = [start_of_a_run(up), *create], {"name": "planted", "job_variables": {"command": "touch /tmp/planted"}}
    page = ATTACK.replace("BODY", json.dumps(body)).replace("URLS", json.dumps(urls))
    with chromium(up) as browser, page_of(page) as elsewhere:
        with browser.page(up.mlflow, "strangers-mlflow") as own:
            assert own.evaluate(MINE, create[0]) == 200  # the person has logged in, and their own page may
        before = made(up)
        assert "mine" in before[1]
        with browser.page(elsewhere, "strangers") as foreign:
            foreign.wait_for_function("document.title.startsWith('read')")
            assert foreign.title() == "read 0"
    assert made(up) == before


def test_a_request_with_the_login_is_answered(up):
    with requests.Session() as nobody:
        assert nobody.get(f"{up.api}/admin/version", timeout=60).status_code == 401
    assert up.http.get(f"{up.api}/admin/version", timeout=60).status_code == 200


def test_up_again_keeps_the_login_also_after_down_and_makes_another_where_its_file_is_gone(up):
    login, before = up.http.auth, up.services()
    up.g2rpo("down")
    up.start()
    assert up.http.auth == login
    (up.g2rpo.store / "services/login").unlink()
    told = up.start().stderr
    assert up.http.auth != login
    for name in before:
        assert f"{name} uses another login, it is stopped" in told
    assert requests.get(f"{up.api}/admin/version", auth=login, timeout=60).status_code == 401
    assert up.http.get(f"{up.api}/admin/version", timeout=60).status_code == 200
