"""The folder of a model that somebody else made: what it names is the family's own, and nothing leads out of it."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from policy_kit import FP32
from random_bases import random_model
from safetensors.torch import load_file, save_file

from g2rpo.policies.flux1 import Flux1
from g2rpo.policies.sd3 import StableDiffusion3

SETTINGS = {"height": 64, "width": 32, "max_sequence_length": 77, "lora": None}
FAMILIES = {
    "flux1": lambda folder: Flux1(folder, guidance=3.5, **SETTINGS),
    "sd3.5": lambda folder: StableDiffusion3(folder, guidance=4.5, negative_prompt="", **SETTINGS),
}


@pytest.fixture
def flux(tmp_path):
    return shutil.copytree(random_model("flux1"), tmp_path / "flux")


def rewrite(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("family", FAMILIES)
def test_lost_weights_of_a_text_encoder_are_refused_and_not_made_up(family, tmp_path):
    folder = shutil.copytree(random_model(family), tmp_path / "model")
    for component in sorted(path.name for path in folder.glob("text_encoder*")):
        path = folder / component / "model.safetensors"
        kept = load_file(path)
        lost = sorted(name for name in kept if "shared" not in name)[3]
        save_file({name: kept[name] for name in kept if name != lost}, path, metadata={"format": "pt"})
        with pytest.raises(ValueError, match=f"policy.path, {component}: .* missing: {lost}"):
            FAMILIES[family](folder).load_encoder(FP32)
        save_file(kept, path, metadata={"format": "pt"})


def test_weights_of_transformer_and_autoencoder_that_are_left_over_are_refused(flux):
    for component in ("transformer", "vae"):
        path = flux / component / "diffusion_pytorch_model.safetensors"
        kept = load_file(path)
        save_file(kept | {"planted": torch.zeros(1)}, path, metadata={"format": "pt"})
        with pytest.raises(ValueError, match=f"policy.path, {component}: .* left over: planted"):
            FAMILIES["flux1"](flux).load_policy(FP32, seed=0)
        save_file(kept, path, metadata={"format": "pt"})


@pytest.mark.parametrize("name", ["../planted", "/tmp/planted", "planted", "image_encoder", "."])
def test_a_component_that_the_family_does_not_know_is_refused(flux, name):
    (flux.parent / "planted").mkdir()
    rewrite(flux / "model_index.json", **{name: ["diffusers", "AutoencoderKL"]})
    with pytest.raises(ValueError, match=r"no such component is required as .* of a FluxPipeline"):
        FAMILIES["flux1"](flux)


@pytest.mark.parametrize(
    ("component", "value"),
    [
        ("text_encoder", ["transformers", "AutoModel"]),
        ("text_encoder", ["modeling_planted", "CLIPTextModel"]),
        ("scheduler", ["diffusers", "DDIMScheduler"]),
        ("vae", "AutoencoderKL"),
        ("vae", None),
    ],
)
def test_a_component_of_another_class_is_refused(flux, component, value):
    rewrite(flux / "model_index.json", **{component: value})
    with pytest.raises(ValueError, match=f"of .* is required as '{component}' of a FluxPipeline, got"):
        FAMILIES["flux1"](flux)


def test_a_pipeline_of_somebodys_own_code_is_refused(flux):
    rewrite(flux / "model_index.json", _class_name=["pipeline", "FluxPipeline"])
    with pytest.raises(ValueError, match="a FluxPipeline is required, got a"):
        FAMILIES["flux1"](flux)


def test_the_names_of_published_models_are_known(flux):
    fast = {"tokenizer": ["transformers", "CLIPTokenizer"], "tokenizer_2": ["transformers", "T5TokenizerFast"]}
    rewrite(flux / "model_index.json", **fast, image_encoder=[None, None])
    assert FAMILIES["flux1"](flux).num_tokens == 8


@pytest.mark.parametrize("place", ["vae/notes.txt", "tokenizer/chat_template.jinja", "scheduler/model.bin"])
def test_a_link_to_a_private_file_is_refused_and_never_exported(flux, place):
    (flux.parent / "id_rsa").write_text("PRIVATE KEY")
    policy = FAMILIES["flux1"](flux).load_policy(FP32, seed=0)
    (flux / place).symlink_to(flux.parent / "id_rsa")
    with pytest.raises(ValueError, match="must lie in its own folder .* which links to .*id_rsa"):
        FAMILIES["flux1"](flux)
    exported = flux.parent / "exported"
    try:
        policy.save(exported)
    except ValueError as error:
        assert "id_rsa" in str(error)  # noqa: PT017  (a file that an export has is refused, any other is left out)
    assert not [path for path in exported.rglob("*") if path.is_file() and "PRIVATE" in path.read_text("latin-1")]


def test_an_export_has_the_known_files_alone_and_a_plain_pipeline_reads_it(flux):
    from diffusers import FluxPipeline

    (flux / "vae" / "setup.py").write_text("print('planted')")
    (flux / "vae" / "within").mkdir()
    policy, exported = FAMILIES["flux1"](flux).load_policy(FP32, seed=0), flux.parent / "exported"
    policy.save(exported)
    kept = {path.relative_to(random_model("flux1")) for path in random_model("flux1").rglob("*") if path.is_file()}
    assert {path.relative_to(exported) for path in exported.rglob("*") if path.is_file()} == kept
    assert FluxPipeline.from_pretrained(exported, dtype=torch.float32).text_encoder_2 is not None


@pytest.mark.parametrize("value", [None, "three", 0, True, [], -1.0])
def test_a_schedule_without_its_numbers_is_refused_in_words(flux, value):
    for key in ("base_shift", "max_image_seq_len"):
        kept = (flux / "scheduler/scheduler_config.json").read_text()
        rewrite(flux / "scheduler/scheduler_config.json", **{key: value})
        with pytest.raises(ValueError, match=f"a positive number {key} is required in the configuration of scheduler"):
            _ = FAMILIES["flux1"](flux).shift
        (flux / "scheduler/scheduler_config.json").write_text(kept)


def test_images_of_fewer_tokens_than_the_schedule_needs_to_grow_are_refused(flux):
    rewrite(flux / "scheduler/scheduler_config.json", max_image_seq_len=256)
    with pytest.raises(ValueError, match="max_image_seq_len above base_image_seq_len is required"):
        _ = FAMILIES["flux1"](flux).shift


def test_an_encoder_computes_in_the_dtype_that_is_asked_for(flux):
    encoder = FAMILIES["flux1"](flux).load_encoder(replace(FP32, dtype=torch.bfloat16))
    assert encoder.encode(["a red cat"]).tensors["prompt_embeds"].dtype == torch.bfloat16
