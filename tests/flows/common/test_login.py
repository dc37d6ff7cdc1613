import base64

import prefect.settings
import pytest
from prefect.server.api.server import create_app
from prefect.settings import temporary_settings
from starlette.testclient import TestClient

from flows.common.login import (
    authorization,
    login_digest,
    login_file,
    mlflow_client,
    new_login,
    prefect_at,
    prefect_client,
    prefect_settings,
    store_login,
    stored_login,
)

URL = "http://127.0.0.1:4200"
RUN = "/api/deployments/2075175c-7ad8-46fe-bedb-41e0aaaaaaaa/create_flow_run"


@pytest.fixture
def login(own_store):
    (own_store / "services").mkdir(parents=True)
    return store_login()


def test_each_login_is_another_one_and_cannot_be_guessed():
    first, second = new_login(), new_login()
    assert first != second
    name, _, password = first.partition(":")
    assert name == "g2rpo"
    assert len(base64.urlsafe_b64decode(password + "=")) == 32


def test_the_login_of_a_store_stays_until_its_file_is_removed(own_store, login):
    assert login_file() == own_store / "services/login"
    assert login_file().read_text() == f"{login}\n"
    assert stored_login() == login
    first = login_digest()
    assert first not in login
    login_file().unlink()
    assert (stored_login(), login_digest()) == (None, "")
    assert store_login() != login
    assert login_digest() not in ("", first)


def test_clients_are_given_the_login_by_their_variables():
    assert authorization("lead:secret") == "Basic bGVhZDpzZWNyZXQ="
    assert mlflow_client("lead:a:b") == {"MLFLOW_TRACKING_USERNAME": "lead", "MLFLOW_TRACKING_PASSWORD": "a:b"}
    there = prefect_client(f"{URL}/api", "lead:secret")
    assert there == {"PREFECT_API_URL": f"{URL}/api", "PREFECT_API_AUTH_STRING": "lead:secret"}
    with prefect_at(there | {"MLFLOW_TRACKING_URI": "http://b"}):
        api = prefect.settings.get_current_settings().api
        assert (api.url, api.auth_string.get_secret_value()) == (f"{URL}/api", "lead:secret")
        with prefect_at({"PREFECT_API_URL": "http://team/api"}):  # whose login is configured
            api = prefect.settings.get_current_settings().api
            assert (api.url, api.auth_string.get_secret_value()) == ("http://team/api", "lead:secret")


def test_prefect_starts_no_run_without_the_login_and_lets_no_page_but_its_own_ask():
    settings = {getattr(prefect.settings, name): value for name, value in prefect_settings(URL, "lead:secret").items()}
    with temporary_settings(settings):
        client = TestClient(create_app(ephemeral=True, ignore_cache=True), base_url=URL)
        assert client.get("/api/health").status_code == 200
        for told in ({}, {"Origin": "http://evil.example"}, {"Host": "evil.example"}):
            assert client.post(RUN, json={}, headers=told).status_code == 401
        assert client.post(RUN, content="{}", auth=("lead", "wrong")).status_code == 401
        assert client.get("/api/admin/version", auth=("lead", "secret")).status_code == 200
        allowed = {}
        for origin in ("http://evil.example", "http://127.0.0.1:4201", "null", URL, "http://localhost:4200"):
            told = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            allowed[origin] = client.options(RUN, headers=told).headers.get("Access-Control-Allow-Origin")
    assert [origin for origin, granted in allowed.items() if granted] == [URL, "http://localhost:4200"]
