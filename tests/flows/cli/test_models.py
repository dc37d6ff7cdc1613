import pytest
import yaml
from diffusers import FluxTransformer2DModel
from said import said
from tiny import ROOT, TINY

from stages.disk.tables import read_table
from stages.params.file import load_params

SETS = [word for override in TINY for word in ("--set", override)]


def test_a_preset_is_printed_in_full_and_read_again(tmp_path):
    preset = ROOT / "presets" / "methods" / "mix-grpo.yaml"
    (tmp_path / "params.yaml").write_text(said("params", "--params", preset, "--set", "run.seed=5"))
    assert "extends" not in yaml.safe_load((tmp_path / "params.yaml").read_text())
    assert load_params(tmp_path / "params.yaml") == load_params(preset, ["run.seed=5"])


def test_the_lists_that_a_run_draws_from_are_written(tmp_path):
    out = tmp_path / "lists"
    told = said("prompts", "--out", out, *SETS)
    lengths = {split: read_table(out / split).num_rows for split in ("train", "tuning", "test")}
    assert told.splitlines() == [f"{out / split}: {length} texts" for split, length in lengths.items()]
    assert lengths["train"] == 437


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.csv"
    names = ["a dog", "a cat", "a dog", "a fox", "a hen"]
    path.write_text("prompt,words\n" + "".join(f"{text},{len(text)}\n" for text in names))
    return path


def test_texts_of_others_become_lists_and_what_lacks_is_told(texts, tmp_path):
    told = said("import-prompts", texts, "--out", tmp_path / "all").splitlines()
    assert told == [
        "train: 4 texts; dropped: 0 empty, 1 repeated, 0 held out elsewhere",
        "no list tuning and no list test: a run is evaluated on them; --tuning N --test N create them",
    ]
    assert set(read_table(tmp_path / "all" / "train")["metadata"].to_pylist()) == {'{"words": "5"}'}


def test_texts_are_set_apart_as_asked_and_without_what_lies_beside_them(texts, tmp_path):
    words = ["--tuning", "1", "--test", "1", "--no-metadata", "--field", "prompt"]
    told = said("import-prompts", texts, "--out", tmp_path / "lists", *words)
    assert [line.split(";")[0] for line in told.splitlines()] == ["train: 2 texts", "tuning: 1 texts", "test: 1 texts"]
    assert set(read_table(tmp_path / "lists" / "train")["metadata"].to_pylist()) == {"{}"}
    with pytest.raises(ValueError, match=r"required under caption, got prompt, words\."):
        said("import-prompts", texts, "--out", tmp_path / "others", "--field", "caption")


def test_a_random_model_is_written_by_its_seed(tmp_path):
    weights = []
    for name, seed in {"one": 0, "same": 0, "other": 1}.items():
        told = said("random-model", "flux1", "--out", tmp_path / name, "--seed", seed)
        size = sum(path.stat().st_size for path in (tmp_path / name).rglob("*") if path.is_file())
        assert told == f"{tmp_path / name}: flux1, {size / 1e6:.1f} MB\n"
        weights.append((tmp_path / name / "transformer" / "diffusion_pytorch_model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]
    with pytest.raises(ValueError, match="huge"):
        said("random-model", "flux1", "--out", tmp_path / "huge", "--size", "huge")


def test_the_best_policy_of_a_run_is_exported(run, tmp_path):
    told = said("export", "--run", run.key[:8], "--to", tmp_path / "policy")
    assert told == f"{tmp_path / 'policy'}: the pipeline after 1 rounds of run {run.key}; read its README.md\n"
    FluxTransformer2DModel.from_pretrained(tmp_path / "policy" / "transformer")
    with pytest.raises(ValueError, match="a run that trains a LoRA is required"):
        said("export", "--run", run.key, "--to", tmp_path / "lora", "--format", "lora")
    with pytest.raises(ValueError, match="one of 1, 2, got 3"):
        said("export", "--run", run.key, "--to", tmp_path / "third", "--round", "3")
    with pytest.raises(ValueError, match="got 'v1'. Example: --alias champion"):
        said("export", "--run", run.key, "--to", tmp_path / "named", "--register", "shapes", "--alias", "v1")


def test_a_reward_is_not_served_to_others_without_a_token(monkeypatch):
    with pytest.raises(
        ValueError, match="a token is required to serve on 0.0.0.0, where others can send requests, got none"
    ):
        said("serve-reward", "rule_soft", "--host", "0.0.0.0", *SETS)
    monkeypatch.setenv("TOKEN", "two words\n")
    with pytest.raises(ValueError, match="--token-env TOKEN"):
        said("serve-reward", "rule_soft", "--token-env", "TOKEN", *SETS)


def test_a_reward_that_does_not_exist_is_not_served():
    with pytest.raises(ValueError, match="family shapes is one of judge_a, judge_b, rule_soft, rule_strict"):
        said("serve-reward", "beauty", *SETS)
