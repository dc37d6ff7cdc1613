"""A run made by hand in MLflow's registry; test_exported_pictures.py loads from one what was trained."""

import os
from contextlib import suppress

import pytest
import torch
from handmade import begun, finish, judge
from mlflow.models import Model
from mlflow.tracking import MlflowClient
from safetensors.torch import save_file

from flows.export.model_card import Exported
from flows.export.registry import Registration, _environment_uri, _save, register
from stages.params.policy import Flux1Params

BASE = "owner/base-of-flux"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with pytest.MonkeyPatch.context() as environment:
        folder = tmp_path_factory.mktemp("registry")
        environment.setenv("G2RPO_HOME", str(folder))
        environment.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield folder


@pytest.fixture(scope="module")
def exported(store):
    """A run of two rounds, and what was exported of it."""
    run, params = begun()
    finish(run)
    finish(run)
    judge(run, params, 2, judge_a=[0.5, 0.75] * 2, judge_b=[0.25] * 4)
    return Exported(run, params, 2, as_lora=False)


@pytest.fixture(scope="module")
def folder(store):
    """What export would have written: a card, a picture, weights."""
    folder = store / "exported"
    folder.mkdir()
    save_file({"transformer.proj.lora_A.weight": torch.ones(1)}, folder / "pytorch_lora_weights.safetensors")
    for name in ("README.md", "curves.png"):
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize("alias", ["latest", "v1", "a b", ""])
def test_an_alias_that_mlflow_would_refuse_is_refused_first(alias):
    told = rf"^--alias: letters, digits, - and _ are required, .* got {alias!r}. Example: --alias champion.$"
    with pytest.raises(ValueError, match=told):
        Registration("flux", alias)
    assert Registration("flux", "v1-final").alias == "v1-final"


@pytest.mark.parametrize("name", ["a/b", "a:b", "a.b", ""])
def test_a_name_that_mlflow_would_refuse_is_refused_first(name):
    told = rf"^--register: a name without / : and . is required, got {name!r}. Example: --register shapes.$"
    with pytest.raises(ValueError, match=told):
        Registration(name, "champion")


def test_mlflow_finds_the_address_in_the_environment_and_what_was_there_before_comes_back(monkeypatch):
    for before in (None, "http://a"):
        if before:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", before)
        else:
            monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with suppress(ZeroDivisionError), _environment_uri("http://b"):
            assert os.environ["MLFLOW_TRACKING_URI"] == "http://b"
            _ = 1 / 0
        assert os.environ.get("MLFLOW_TRACKING_URI") == before


def test_a_pipeline_is_laid_out_as_the_folder_that_diffusers_reads(folder, exported, tmp_path):
    _save(folder, tmp_path / "model", exported)
    model = Model.load(str(tmp_path / "model"))
    assert model.flavors == {"diffusers_pipeline": {"data": "pipeline"}}
    assert model.metadata == {"run_key": exported.run.key, "policy_round": 2}
    assert {path.name for path in (tmp_path / "model/pipeline").iterdir()} == {path.name for path in folder.iterdir()}


def test_a_lora_is_laid_out_as_mlflows_flavour_of_diffusers_with_its_card_beside(folder, exported, tmp_path):
    policy = Flux1Params(
        **{"family": "flux1", "path": BASE, "revision": "0" * 40, "height": 64, "width": 64, "guidance": None},
        **{"max_sequence_length": 64, "lora": None},
    )
    of_flux = exported.params.model_copy(update={"policy": policy})
    _save(folder, tmp_path / "model", Exported(exported.run, of_flux, 2, as_lora=True))
    model = Model.load(str(tmp_path / "model"))
    (weights,) = (tmp_path / "model").rglob("*.safetensors")
    assert weights.read_bytes() == (folder / "pytorch_lora_weights.safetensors").read_bytes()
    assert BASE in str(model.flavors["diffusers"].values())
    assert model.metadata == {"run_key": exported.run.key, "policy_round": 2}
    assert {path.name for path in (tmp_path / "model/card").iterdir()} == {"README.md", "curves.png"}


def test_each_export_is_the_next_version_and_takes_the_alias_over(store, folder, exported):
    uri = f"sqlite:///{store / 'mlflow.db'}"
    for version in (1, 2):
        told = register(folder, exported, Registration("shapes", "champion"))
        assert told == f"models:/shapes@champion is version {version} of shapes at {uri}"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    assert client.get_registered_model("shapes").description.startswith("Policies aligned by G²RPO")
    registered = client.get_model_version_by_alias("shapes", "champion")
    assert int(registered.version) == 2
    told = f"Run {exported.run.key} after 2 rounds; tuning: judge_a 0.6250, judge_b 0.2500, rule"
    assert registered.description.startswith(told)
    of = client.get_run(registered.run_id)
    assert of.data.tags["g2rpo.run_key"] == exported.run.key
    outputs = {output.model_id: output.step for output in of.outputs.model_outputs}
    assert set(outputs.values()) == {2}
    model = client.get_logged_model(registered.source.removeprefix("models:/"))
    assert model.model_id in outputs
    assert (model.name, model.model_type, str(model.status)) == ("shapes-pipeline", "pipeline", "READY")
    assert model.tags["g2rpo.policy_round"] == "2"
