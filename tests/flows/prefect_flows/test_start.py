import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from tiny import tiny_params

from flows.common import endings
from flows.prefect_flows.start import Started, start
from flows.training.loop import call_plainly
from stages.store.run import open_run


@pytest.fixture(autouse=True)
def servers(own_store, monkeypatch):
    """The servers that this process is to remember."""
    monkeypatch.setattr(endings, "_SERVERS", set())
    return endings._SERVERS


def test_without_an_api_a_run_is_trained_by_plain_calls(told, no_api, servers, tmp_path):
    params = tiny_params("run.seed=4")
    run = open_run(params, device="cpu")
    assert start(params, final=False, out=tmp_path) == Started(run.key, run.path)
    (words,) = told.words
    assert words["call"] is call_plainly
    assert (words["params"], words["final"], words["out"]) == (params, False, tmp_path)
    assert servers == set()


def test_with_an_api_it_is_a_flow_run_of_its_name_and_the_server_is_remembered(told, api, servers):
    run = open_run(tiny_params(), device="cpu")
    assert start(tiny_params()) == Started(run.key, run.path)
    assert api.flow_runs()[0]["name"] == f"train-{run.key}"
    assert told.words[0]["final"] is True
    assert servers == {api.url}


def test_an_api_that_does_not_answer_is_told_before_anything_is_trained(told, api):
    nowhere = temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"})
    refused = pytest.raises(ValueError, match=r"the Prefect API must answer at http://127.0.0.1:1/api/health, got")
    with nowhere, refused:
        start(tiny_params())
    assert told.words == []


def test_a_named_run_of_other_parameters_is_refused(told, no_api):
    other = open_run(tiny_params("run.seed=4"), device="cpu")
    with pytest.raises(ValueError, match=f"Run {other.key} goes on only with what made it; these differ"):
        start(tiny_params(), named=other)
