"""What is written and what is refused; test_exported_pictures.py has what is painted with it."""

import json
import re

import pytest
import torch
from handmade import begun, finish, judge
from random_bases import random_model, tiny_latent_params
from safetensors.torch import load_file
from unrendered import leave_unrendered

from flows.export.policy import export_run, round_choice
from flows.export.registry import Registration
from g2rpo.trainer import OptimizerSettings, Trainer
from stages.disk.files import remove, write_text
from stages.disk.policy_files import write_policy
from stages.engine.loaded_models import LoadedModels
from stages.params.file import written
from stages.store.run import open_run

ADAM = OptimizerSettings(1e-3, (0.9, 0.999), 0.0, 1.0, 0.5)


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("G2RPO_HOME", str(tmp_path_factory.mktemp("exports")))
        yield


@pytest.fixture(autouse=True)
def unrendered(monkeypatch):
    leave_unrendered(monkeypatch)


@pytest.fixture(scope="module")
def shapes():
    """A run of three rounds, of which the second is the best; each policy is the base."""
    run, params = begun("run.rounds=3", "evaluate.choose_by=judge_a")
    for _ in range(3):
        finish(run)
    for number, value in enumerate((0.25, 0.5, 0.75, 0.625)):
        judge(run, params, number, judge_a=[value] * 4)
    return run


@pytest.fixture(scope="module")
def lora():
    """A run of one round that trains a LoRA of a small FLUX: all its weights are 1, and 2 in their average."""
    more = ("rollout.shift=2.0", "update.ema_decay=0.5", "resources.device=cpu")
    params = tiny_latent_params("flux1", *more)
    run = open_run(params, device="cpu")
    network = LoadedModels(params).policy(run.policy_folder(0)).module
    fill(network, 2.0)
    trainer = Trainer(network, ADAM)  # its average starts here
    fill(network, 1.0)
    write_policy(run.policy_folder(1), trainer)
    told = {f"reward/{name}/{what}": 0.5 for name in params.score.rewards for what in ("mean", "step_0/spread")}
    run.write_metrics(0, {"round": 1.0, "update/kl": 0.0, "evaluations": 92.0, "cpu_seconds": 0.5} | told)
    run.finish_round(0)
    return run


def fill(network, value):
    for weight in network.parameters():
        if weight.requires_grad:
            weight.data.fill_(value)


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_a_round_is_asked_for_by_its_number_or_as_the_best_or_the_last():
    assert [round_choice(text) for text in ("best", "last", "100")] == ["best", "last", 100]
    for text in ("first", "-1", "1.5", ""):
        told = rf"^--round: a number of rounds, best or last is required, got {text!r}. Example: --round 100.$"
        with pytest.raises(ValueError, match=told):
            round_choice(text)


def test_an_empty_folder_is_filled_with_the_best_round_and_all_that_its_card_shows(shapes, tmp_path):
    (tmp_path / "empty").mkdir()
    said = export_run(shapes.key, tmp_path / "empty")
    assert said == f"{tmp_path / 'empty'}: the pipeline after 2 rounds of run {shapes.key}; read its README.md"
    own = {"shapes_pipeline.json", "shapes_pipeline.py", "transformer", "words.safetensors"}
    assert names(tmp_path / "empty") == {"README.md", "before_after.png", "curves.png", *own}
    assert json.loads((tmp_path / "empty/shapes_pipeline.json").read_text())["num_inference_steps"] == 4


def test_the_last_round_is_taken_where_it_is_asked_for(shapes, tmp_path):
    assert "the pipeline after 3 rounds" in export_run(shapes.key, tmp_path / "out", number="last")
    assert "by 3 rounds of" in (tmp_path / "out/README.md").read_text()


def test_a_lora_that_was_trained_is_written_as_one_with_the_average_of_its_weights(lora, tmp_path):
    assert "the LoRA after 1 rounds" in export_run(lora.key, tmp_path / "lora")
    assert names(tmp_path / "lora") == {"README.md", "curves.png", "pytorch_lora_weights.safetensors"}
    written = load_file(tmp_path / "lora/pytorch_lora_weights.safetensors")
    assert all(torch.equal(weight, torch.full_like(weight, 2.0)) for weight in written.values())


def test_a_pipeline_of_a_lora_has_the_schedule_that_it_was_trained_for(lora, tmp_path):
    assert "the pipeline after 1 rounds" in export_run(lora.key, tmp_path / "pipeline", "pipeline")
    config = json.loads((tmp_path / "pipeline/scheduler/scheduler_config.json").read_text())
    assert (config["shift"], config["use_dynamic_shifting"]) == (2.0, False)
    assert "pytorch_lora_weights.safetensors" not in names(tmp_path / "pipeline")


def test_what_cannot_be_exported_is_refused_and_nothing_is_left(shapes, lora, tmp_path, monkeypatch):
    key, taken = shapes.key, tmp_path / "taken"
    (taken / "within").mkdir(parents=True)
    (tmp_path / "file").touch()
    unfinished = begun("run.seed=5")[0].key
    refusals = {
        (key, "new/lora", "lora", 1): "which trains all weights of its shapes model. Use --format pipeline",
        (key, "taken", None, 1): "new or empty folder is required, got a folder that is not empty",
        (key, "file", None, 1): "got a file",
        (key, "new", None, 4): "--round: a round whose policy is kept is required, one of 1, 2, 3, got 4",
        ("0000", "new", None, 1): "A run is required whose key begins with '0000'",
        (unfinished, "new", None, "best"): "must have finished a round, got none. Train it first",
    }
    for (run, out, chosen, number), told in refusals.items():
        with pytest.raises(ValueError, match=re.escape(told)):
            export_run(run, tmp_path / out, chosen, number=number)
    with monkeypatch.context() as other:
        other.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        with pytest.raises(ValueError, match="must answer at http://127.0.0.1:9"):
            export_run(key, tmp_path / "new", registration=Registration("shapes", "champion"))
    config = random_model("flux1") / "vae/config.json"
    kept = config.read_text()
    try:
        config.write_text(kept + " ")
        with pytest.raises(ValueError, match="The base weights that run"):
            export_run(lora.key, tmp_path / "new")
    finally:
        config.write_text(kept)
    monkeypatch.setattr("flows.export.policy.write_card", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export_run(key, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken"]
    assert [path.name for path in taken.iterdir()] == ["within"]


def test_a_run_that_lacks_its_own_prompts_is_refused_and_those_that_it_names_are_not_published(tmp_path):
    run, params = begun("run.seed=7")
    finish(run)
    for split in ("train", "tuning", "test"):
        (tmp_path / f"{split}.txt").write_text("a red circle\n", encoding="utf-8")
    write_text(run.path / "params.yaml", written(params.with_values({"prompts.path": str(tmp_path)})))
    remove(run.prompts)
    with pytest.raises(ValueError, match="prompts/train/part-00000.parquet: the run's list of prompts is required"):
        export_run(run.key, tmp_path / "out", number=1)
    assert not (tmp_path / "out").exists()


def test_a_policy_that_cards_have_trained_is_exported_without_one(tmp_path):
    run, _ = begun("resources.device=cuda", "resources.compile=true", "run.seed=6")
    finish(run)
    assert "the pipeline after 1 rounds" in export_run(run.key, tmp_path / "out", number=1)
