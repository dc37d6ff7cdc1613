import os
from collections import Counter

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from prompt_files import written
from tiny import tiny_params

from flows.common import endings
from flows.prefect_flows.start import Started, start
from flows.training.loop import call_plainly
from g2rpo.shapes.captions import captions
from stages.params.record import Params
from stages.store.run import Run, open_run


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


def test_a_plain_run_validates_its_parameters_once_and_scans_each_folder_of_prompts_once(
    own_store, no_api, tmp_path, monkeypatch
):
    """Two real rounds and the final evaluations, from the file of parameters on."""
    for split in ("train", "tuning", "test"):
        written(tmp_path / "lists", f"{split}.txt", "\n".join(captions(split)))
    validated, scanned = [], Counter()
    validate, scandir = Params.model_validate, os.scandir
    monkeypatch.setattr(Params, "model_validate", lambda tree: validated.append(tree) or validate(tree))
    monkeypatch.setattr(os, "scandir", lambda path=".": scanned.update([str(path)]) or scandir(path))
    started = start(tiny_params("run.rounds=2", "report.num_prompts=2", f"prompts.path={tmp_path / 'lists'}"))
    assert Run(started.folder).num_finished == 2
    assert len(validated) == 1
    assert {path: count for path, count in scanned.items() if path.startswith(f"{tmp_path / 'lists'}")} == {
        str(tmp_path / "lists"): 1
    }


def test_with_an_api_it_is_a_flow_run_of_its_name_and_the_server_is_remembered(told, api, servers):
    run = open_run(tiny_params(), device="cpu")
    assert start(tiny_params()) == Started(run.key, run.path)
    assert api.flow_runs()[0]["name"] == f"train-{run.key}"
    assert told.words[0]["final"] is True
    assert servers == {api.url}


def test_an_api_that_does_not_answer_is_told_before_anything_is_trained(told, api):
    nowhere = temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"})
    refused = pytest.raises(ValueError, match=r"the Prefect API must answer at http://127.0.0.1:1/api, got no answer")
    with nowhere, refused:
        start(tiny_params())
    assert told.words == []


def test_a_named_run_of_other_parameters_is_refused(told, no_api):
    other = open_run(tiny_params("run.seed=4"), device="cpu")
    with pytest.raises(
        ValueError, match=f"Run {other.key} continues only with the parameters that made it; these differ"
    ):
        start(tiny_params(), named=other)
