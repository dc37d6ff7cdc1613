"""What `g2rpo up` deploys where something is deployed already, and what it leaves as people have set it."""

from http.server import BaseHTTPRequestHandler

import pytest
from command_line import CommandLine
from http_here import answering

pytestmark = pytest.mark.slow


@pytest.fixture
def member(up, tmp_path):
    """Another person with a store of their own; calls `up` for the same servers."""
    command = CommandLine(tmp_path / "store")
    yield lambda *words: command("up", *words, **up.environment)
    command("down", **up.environment)


def deployments(up):
    found = up.post("deployments/filter", {})
    flows = {flow["id"]: flow["name"] for flow in up.post("flows/filter", {})}
    return {f"{flows[one['flow_id']]}/{one['name']}": one for one in found}


def automations(up):
    return {one["name"]: one for one in up.post("automations/filter", {})}


def test_a_member_deploys_what_lacks_and_leaves_what_others_have_deployed(up, member):
    lacks = deployments(up)["compare/weekly"]
    up.http.delete(f"{up.api}/deployments/{lacks['id']}", timeout=60).raise_for_status()
    before = deployments(up)
    done = member()
    assert done.returncode == 0, done.stderr
    after = deployments(up)
    assert after.pop("compare/weekly")["schedules"][0]["active"] is False
    assert {name: one["updated"] for name, one in after.items()} == {
        name: one["updated"] for name, one in before.items()
    }
    assert "already deployed, unchanged: train/demo, train/nightly, evaluate/weekly; g2rpo up --deploy" in done.stderr


def test_a_member_who_asks_for_it_deploys_all_anew(up, member):
    before = deployments(up)
    done = member("--deploy")
    assert done.returncode == 0, done.stderr
    after = deployments(up)
    assert all(after[name]["updated"] > one["updated"] for name, one in before.items())
    assert "deployments match prefect.yaml" in done.stderr


def test_schedules_stay_as_people_have_set_and_made_them(up):
    before = deployments(up)
    of_nightly, of_weekly = (before[name]["schedules"][0] for name in ("train/nightly", "evaluate/weekly"))
    for name, schedule in (("train/nightly", of_nightly), ("evaluate/weekly", of_weekly)):
        at = f"{up.api}/deployments/{before[name]['id']}/schedules"
        up.http.patch(f"{at}/{schedule['id']}", json={"active": True}, timeout=60).raise_for_status()
    at = f"{up.api}/deployments/{before['evaluate/weekly']['id']}/schedules"
    made = {"active": True, "schedule": {"interval": 9e6, "timezone": "UTC"}}
    up.http.post(at, json=[made], timeout=60).raise_for_status()
    up.start()
    up.start()
    after = deployments(up)
    assert [(one["slug"], one["active"]) for one in after["train/nightly"]["schedules"]] == [("nightly", True)]
    slugs = {one["slug"]: one for one in after["evaluate/weekly"]["schedules"]}
    assert len(after["evaluate/weekly"]["schedules"]) == 2
    assert slugs["weekly"]["active"]
    assert slugs[None]["active"]
    assert slugs[None]["schedule"]["interval"] == 9e6
    assert [one["active"] for one in after["compare/weekly"]["schedules"]] == [False]


def test_an_automation_that_equals_the_file_is_left_alone_and_one_that_differs_is_not(up):
    before = automations(up)
    changed = before["g2rpo crash"] | {"description": "somebody's"}
    at = f"{up.api}/automations/{changed['id']}"
    wanted = {key: changed[key] for key in ("name", "description", "enabled", "trigger", "actions")}
    up.http.put(at, json=wanted, timeout=60).raise_for_status()
    up.start()
    after = automations(up)
    assert len(up.post("automations/filter", {})) == len(after) == 3
    for name in ("g2rpo zombie", "g2rpo guard"):
        assert after[name]["id"] == before[name]["id"]
    assert after["g2rpo crash"]["id"] != before["g2rpo crash"]["id"]
    assert after["g2rpo crash"]["description"] == before["g2rpo crash"]["description"]


def test_a_members_file_of_automations_does_not_replace_the_teams(up, member):
    crash = automations(up)["g2rpo crash"]
    at = f"{up.api}/automations/{crash['id']}"
    wanted = {key: crash[key] for key in ("name", "enabled", "trigger", "actions")} | {"description": "the team's"}
    up.http.put(at, json=wanted, timeout=60).raise_for_status()
    done = member()
    assert automations(up)["g2rpo crash"]["description"] == "the team's"
    assert "automations differ, unchanged: g2rpo crash" in done.stderr


@pytest.fixture
def closed():
    """The address of a server that asks everybody for a login."""

    class Handler(BaseHTTPRequestHandler):
        def refuse(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = do_PATCH = refuse  # noqa: N815

        def log_message(self, *_):
            pass

    with answering(Handler) as url:
        yield url


def test_a_prefect_that_asks_for_a_login_is_told_with_the_variable_to_set(g2rpo, closed):
    done = g2rpo("up", PREFECT_API_URL=f"{closed}/api", MLFLOW_TRACKING_URI=closed)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "Set PREFECT_API_AUTH_STRING" in done.stderr
