from datetime import timedelta

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.services.deployments import to_deploy

DEMO = {"name": "demo", "entrypoint": "flows/prefect_flows/deployed.py:train"}
NIGHTLY = {"slug": "nightly", "cron": "0 2 * * *", "timezone": "UTC", "active": False}


@pytest.fixture
def client(prefect_in_process):
    with temporary_settings({PREFECT_API_URL: prefect_in_process}), get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def there(client):
    """Makes a deployment of the flow train-models, with schedules, and takes it away at the end."""
    made = []

    def make(name, *schedules):
        flow = client.create_flow_from_name("train-models")
        made.append(client.create_deployment(flow, name, schedules=list(schedules)))

    yield make
    for one in made:
        client.delete_deployment(one)


def of(name, *schedules):
    """A deployment as prefect.yaml has it; its flow is train-models."""
    return {"name": name, "entrypoint": "flows/x.py:train_models"} | ({"schedules": [*schedules]} if schedules else {})


def cron(slug, *, active, parameters=None):
    schedule = CronSchedule(cron="0 4 * * *", timezone="UTC")
    return DeploymentScheduleCreate(schedule=schedule, active=active, slug=slug, parameters=parameters or {})


def asked(client, path, *deployments, anew=False):
    path.write_text(yaml.safe_dump({"name": "g2rpo", "pull": [], "deployments": list(deployments)}))
    return to_deploy(client, path, anew=anew)


def test_what_lacks_is_deployed_and_what_is_there_is_left(client, there, tmp_path):
    there("one")
    chosen = asked(client, tmp_path / "prefect.yaml", of("one"), of("two"), DEMO)
    assert chosen.tree == {"name": "g2rpo", "pull": [], "deployments": [of("two"), DEMO]}
    assert chosen.left == ("train-models/one",)


def test_anew_all_are_deployed_and_a_schedule_stays_as_a_person_has_set_it(client, there, tmp_path):
    there("one", cron("nightly", active=True))
    chosen = asked(client, tmp_path / "prefect.yaml", of("one", NIGHTLY), anew=True)
    assert chosen.left == ()
    (one,) = chosen.tree["deployments"]
    assert one["schedules"] == [NIGHTLY | {"active": True}]  # when it is due, the file says


def test_a_schedule_that_the_file_switches_on_is_on_whatever_somebody_has_set(client, there, tmp_path):
    there("one", cron("nightly", active=False))
    on = NIGHTLY | {"active": True}
    (one,) = asked(client, tmp_path / "prefect.yaml", of("one", on), anew=True).tree["deployments"]
    assert one["schedules"] == [on]


def test_schedules_that_people_have_added_stay_and_are_written_as_the_file_would(client, there, tmp_path):
    own = IntervalSchedule(interval=timedelta(days=2), timezone="UTC")
    made = DeploymentScheduleCreate(schedule=own, active=True)
    there("one", cron("nightly", active=False), cron("theirs", active=False, parameters={"rounds": 3}), made)
    (one,) = asked(client, tmp_path / "prefect.yaml", of("one", NIGHTLY), anew=True).tree["deployments"]
    nightly, *others = one["schedules"]
    assert nightly == NIGHTLY
    (theirs,) = (other for other in others if "cron" in other)
    (by_page,) = (other for other in others if "interval" in other)
    expected = {"cron": "0 4 * * *", "timezone": "UTC", "active": False, "slug": "theirs", "parameters": {"rounds": 3}}
    assert theirs == expected
    assert (by_page["interval"], by_page["timezone"], by_page["active"]) == (172800.0, "UTC", True)
    assert "slug" not in by_page


def test_nothing_is_added_where_the_file_has_no_schedules_or_one_without_a_name(client, there, tmp_path):
    there("one", cron("theirs", active=True))
    nameless = {"cron": "0 2 * * *", "active": False}
    for schedules in ([], [nameless]):
        (one,) = asked(client, tmp_path / "prefect.yaml", of("one", *schedules), anew=True).tree["deployments"]
        assert one["schedules"] == schedules


def test_a_file_that_is_no_yaml_is_refused(client, tmp_path):
    (tmp_path / "prefect.yaml").write_text("deployments: [")
    with pytest.raises(ValueError, match=r"line 1 of .*prefect.yaml: YAML is required, got: .*\. Correct it\."):
        to_deploy(client, tmp_path / "prefect.yaml", anew=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [x]\nb: *a", "line 1 of .*prefect.yaml: .*: an alias"),
        ("deployments: 3", "prefect.yaml: deployments must be a list of keys and values, got 3. Correct it."),
        ("deployments: [3]", r"deployments must be a list of keys and values, got \[3\]"),
        ("deployments: [{name: a/b}]", "prefect.yaml: name of deployment 1: a name of at most 64 .*, got 'a/b'"),
        ("deployments: [{entrypoint: x}]", "name of deployment 1: a name .*, got None"),
        ("deployments: [{name: a, schedules: [3]}]", r"schedules of deployment a must be a list of keys .*, got \[3\]"),
    ],
)
def test_deployments_without_a_plain_name_are_refused_before_prefect_is_asked(client, tmp_path, text, message):
    (tmp_path / "prefect.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        to_deploy(client, tmp_path / "prefect.yaml", anew=False)
