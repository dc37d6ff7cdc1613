"""What MLflow says of a run beside its numbers."""

import json

import pytest
from damage import edit
from handmade import begun

from flows.tracking.experiment_page import dataset_inputs, note_of, tags_of
from stages.store.run import Run
from stages.texts.lists import full_list

FROM = {"round": 1, "reason": "kl", "generation": 1}

pytestmark = pytest.mark.usefixtures("own_store")


def test_the_ids_of_the_last_session_are_tags_and_gits_has_mlflows_own_name():
    run, _ = begun()
    assert tags_of(run) == {}
    run.begin_session({"git_commit": "0" * 40})
    run.begin_session({"git_commit": "c0ffee", "prefect_flow_run_id": "f1", "mlflow_run_id": "m1"})
    assert tags_of(run) == {
        "g2rpo.git_commit": "c0ffee",
        "g2rpo.prefect_flow_run_id": "f1",
        "mlflow.source.git.commit": "c0ffee",
    }


def test_a_run_that_went_on_from_another_is_shown_below_it_where_that_is_shown():
    (parent, _), (child, _) = begun(), begun("run.seed=1")
    edit(child.path / "run.json", lambda about: about.update(parent=FROM | {"key": parent.key}))
    assert tags_of(child) == {"g2rpo.parent": parent.key}
    parent.begin_session({"mlflow_run_id": "m1"})
    assert tags_of(child) == {"g2rpo.parent": parent.key, "mlflow.parentRunId": "m1"}
    key = parent.key
    (parent.path / "run.json").unlink()
    assert tags_of(child) == {"g2rpo.parent": key}


def test_the_description_has_the_commands_that_reproduce_a_run_go_on_and_take_it_away():
    run, _ = begun()
    assert "```\ng2rpo train --params params.yaml\n```" in note_of(run)
    run.begin_session({"git_commit": "c0ffee"})
    said = note_of(Run(run.path))
    assert said.startswith(f"Run `{run.key}` of the store at `{run.path}`.")
    assert "```\ngit checkout c0ffee\ng2rpo train --params params.yaml\n```" in said
    assert f"`g2rpo train --run {run.key}`" in said
    assert said.endswith(f"`g2rpo export --run {run.key} --to FOLDER`")


def test_the_lists_of_prompts_are_datasets_that_say_what_they_are_for(tmp_path):
    _, params = begun()
    found = [(given.dataset, given.tags[0]) for given in dataset_inputs(params)]
    assert [(dataset.name, tag.key, tag.value) for dataset, tag in found] == [
        ("prompts/train", "mlflow.data.context", "training"),
        ("prompts/tuning", "mlflow.data.context", "choosing"),
        ("prompts/test", "mlflow.data.context", "reporting"),
    ]
    test = found[2][0]
    assert json.loads(test.profile) == {"num_rows": 146}  # what params.yaml says of the split
    assert json.loads(test.source) == {"path": "the prompts of the shapes family"}
    assert test.digest == full_list(params, "test").digest[:36]
    assert len(test.digest) == 36  # the most that MLflow takes
