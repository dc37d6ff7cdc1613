import hashlib
import json
import re
import socket
from pathlib import Path

import diffusers
import pytest
import torch
from diffusers import DiffusionPipeline
from transformers import CLIPModel, CLIPTokenizer, T5TokenizerFast

from g2rpo import random_models
from g2rpo.random_models.clip import HPS_FILE
from g2rpo.random_models.families import FAMILIES
from g2rpo.random_models.flux1 import flux1_tiny_config
from g2rpo.random_models.sd3 import sd3_tiny_config

pytestmark = pytest.mark.long

PIPELINES = ("flux1", "flux1-schnell", "sd3", "sd3.5")
TEXTS = ("a red circle", "a blue dog over the river")
SENTENCE = "\"The quick brown fox's café -- won't it jump? (7 × 8 = 56%); £5, “naïve”… [@#$^&*_+{}|~`/\\<>]\""


@pytest.fixture(scope="module", autouse=True)
def calls():
    """Every attempt to reach a network; there must be none, although nobody has set the hub offline."""
    seen: list[object] = []

    def refuse(*arguments: object, **_: object):
        seen.append(arguments)
        raise OSError(f"the network is touched: {arguments}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield seen
    assert seen == []


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of each family, of seed 0."""
    root = tmp_path_factory.mktemp("models")
    for family in FAMILIES:
        random_models.write_random_model(family, root / family, size="tiny", seed=0)
    return {family: root / family for family in FAMILIES}


@pytest.fixture(scope="module")
def pipelines(folders):
    loaded = {family: DiffusionPipeline.from_pretrained(folders[family]) for family in PIPELINES}
    for pipeline in loaded.values():
        pipeline.set_progress_bar_config(disable=True)
    return loaded


def paint(pipeline, text: str, **how) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    how = {"height": 32, "width": 32, "num_inference_steps": 2, "max_sequence_length": 64, **how}
    return pipeline(text, generator=generator, output_type="pt", **how).images[0]


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("family", PIPELINES)
def test_a_plain_pipeline_paints_each_text_its_own_picture(pipelines, family):
    assert type(pipelines[family]).__name__ == ("FluxPipeline" if "flux1" in family else "StableDiffusion3Pipeline")
    red, blue = (paint(pipelines[family], text) for text in TEXTS)
    assert red.shape == (3, 32, 32)
    assert red.std() > 0.05, "the decoder paints one colour"
    assert (red - blue).abs().mean() > 0.01
    assert torch.equal(red, paint(pipelines[family], TEXTS[0]))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_seed_writes_the_same_files_and_another_seed_other_weights(folders, family, tmp_path):
    random_models.write_random_model(family, tmp_path / "same", size="tiny", seed=0)
    size = random_models.write_random_model(family, tmp_path / "other", size="tiny", seed=1)
    first, same, other = map(digests, (folders[family], tmp_path / "same", tmp_path / "other"))
    assert same == first
    assert size < 5e6
    changed = {name for name in first if other[name] != first[name]}
    assert changed == {name for name in first if name.endswith((".safetensors", ".pt"))}
    assert len(changed) == {"flux1": 4, "flux1-schnell": 4, "sd3": 5, "sd3.5": 5, "clip-hps": 2}[family]


def test_no_weight_depends_on_the_state_of_torch_and_none_changes_it(folders, tmp_path):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    random_models.write_flux1(tmp_path / "again", seed=0, guidance=True)
    assert torch.equal(torch.get_rng_state(), before)
    assert digests(tmp_path / "again") == digests(folders["flux1"])


def test_guidance_is_heard_by_dev_and_not_by_schnell(pipelines):
    for family, heard in (("flux1", True), ("flux1-schnell", False)):
        weak, strong = (paint(pipelines[family], TEXTS[0], guidance_scale=scale) for scale in (1.0, 5.0))
        assert torch.equal(weak, strong) != heard
        assert pipelines[family].transformer.config.guidance_embeds == heard
        assert pipelines[family].scheduler.config.use_dynamic_shifting == heard


def test_the_switch_of_sd3_adds_dual_attention_and_norms(pipelines):
    def has(family: str, part: str) -> bool:
        return any(part in name for name, _ in pipelines[family].transformer.named_parameters())

    assert not has("sd3", ".attn2.")
    assert not has("sd3", ".norm_q.")
    assert has("sd3.5", ".attn2.")
    assert has("sd3.5", ".norm_q.")


@pytest.mark.parametrize("family", PIPELINES)
def test_velocities_are_of_order_one(pipelines, family):
    seen: list[torch.Tensor] = []
    hook = pipelines[family].transformer.register_forward_hook(lambda _, __, output: seen.append(output[0]))
    paint(pipelines[family], TEXTS[0])
    hook.remove()
    assert all(0.5 < velocity.std() < 2 for velocity in seen)
    assert len(seen) == 2


def test_the_autoencoder_is_as_the_published_ones(pipelines):
    for family in PIPELINES:
        config = pipelines[family].vae.config
        assert (config.latent_channels, len(config.block_out_channels)) == (16, 4)
        assert (config.scaling_factor, config.shift_factor) == (
            (0.3611, 0.1159) if "flux1" in family else (1.5305, 0.0609)
        )


@pytest.mark.parametrize(
    ("family", "encoder", "tokenizer"),
    [
        ("flux1", "text_encoder", "tokenizer"),
        ("sd3", "text_encoder", "tokenizer"),
        ("sd3", "text_encoder_2", "tokenizer_2"),
    ],
)
def test_a_clip_encoder_pools_where_its_tokenizer_ends_the_text(pipelines, family, encoder, tokenizer):
    encoder, tokenizer = getattr(pipelines[family], encoder), getattr(pipelines[family], tokenizer)
    config = encoder.config
    assert config.vocab_size == len(tokenizer)
    assert (config.bos_token_id, config.eos_token_id) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    short, long = (
        tokenizer(list(TEXTS), padding="max_length", max_length=length, return_tensors="pt").input_ids
        for length in (40, 77)
    )
    ends = (long == tokenizer.eos_token_id).int().argmax(dim=1)
    assert torch.equal(ends, long.argmax(dim=1)), "older configurations pool at the highest id"
    with torch.no_grad():
        pooled, again = (
            encoder(ids, output_hidden_states=True)[1 if family == "flux1" else 0] for ids in (long, short)
        )
    torch.testing.assert_close(pooled, again)
    assert (pooled[0] - pooled[1]).abs().mean() > 0.1


def test_the_second_tokenizer_of_sd3_pads_with_an_exclamation_mark(pipelines):
    assert pipelines["sd3"].tokenizer_2.pad_token_id == 0
    assert pipelines["sd3"].tokenizer.pad_token == "<|endoftext|>"


def test_the_tokenizers_read_any_english_text(folders):
    clip = CLIPTokenizer.from_pretrained(folders["flux1"] / "tokenizer")
    ids = clip(SENTENCE).input_ids
    read = clip.decode(ids, skip_special_tokens=True)
    assert re.sub(r"\s", "", read) == re.sub(r"\s", "", SENTENCE.lower())
    assert not set(ids[1:-1]) & set(clip.all_special_ids)
    assert len(clip("a red circle over the blue square").input_ids) == 9, "known words are one token"
    t5 = T5TokenizerFast.from_pretrained(folders["flux1"] / "tokenizer_2")
    ids = t5(SENTENCE).input_ids
    assert t5.unk_token_id not in ids
    assert ids[-1] == t5.eos_token_id
    assert t5.decode(ids, skip_special_tokens=True) == SENTENCE
    assert len(t5("a red circle").input_ids) == 4


def test_the_clip_folder_tells_texts_and_pictures_apart(folders):
    model = CLIPModel.from_pretrained(folders["clip-hps"])
    tokenizer = CLIPTokenizer.from_pretrained(folders["clip-hps"])
    size = json.loads((folders["clip-hps"] / "preprocessor_config.json").read_text())["crop_size"]["height"]
    pictures = torch.stack([torch.zeros(3, size, size), torch.linspace(-2, 2, size).expand(3, size, size)])
    with torch.no_grad():
        output = model(pixel_values=pictures, **tokenizer(list(TEXTS), padding=True, return_tensors="pt"))
    logits = output.logits_per_image
    assert logits.shape == (2, 2)
    assert torch.pdist(output.image_embeds) > 0.1
    assert torch.pdist(output.text_embeds) > 0.1
    assert model.logit_scale.exp().item() == pytest.approx(100, rel=1e-3)


def test_the_hps_checkpoint_has_the_names_of_open_clip(folders):
    checkpoint = torch.load(folders["clip-hps"] / HPS_FILE, weights_only=True)
    assert list(checkpoint) == ["state_dict"]
    state = checkpoint["state_dict"]
    tensors = CLIPModel.from_pretrained(folders["clip-hps"]).state_dict()
    layer = ("attn.in_proj_weight", "attn.in_proj_bias")
    layer += tuple(
        f"{p}.{k}" for p in ("ln_1", "attn.out_proj", "ln_2", "mlp.c_fc", "mlp.c_proj") for k in ("weight", "bias")
    )
    outside = {"positional_embedding", "text_projection", "logit_scale", "token_embedding.weight", "visual.proj"}
    outside |= {"visual.class_embedding", "visual.positional_embedding", "visual.conv1.weight"}
    outside |= {f"{p}.{k}" for p in ("ln_final", "visual.ln_pre", "visual.ln_post") for k in ("weight", "bias")}
    inside = {f"{tower}transformer.resblocks.{n}.{k}" for tower in ("", "visual.") for n in (0, 1) for k in layer}
    assert set(state) == outside | inside
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    assert sum(t.numel() for t in state.values()) == sum(t.numel() for t in tensors.values())
    assert state["visual.proj"].shape == tensors["visual_projection.weight"].T.shape
    assert state["transformer.resblocks.0.attn.in_proj_weight"].shape == (96, 32)
    assert (state["visual.proj"] - tensors["visual_projection.weight"].T).abs().max() > 0.1, "HPS has other weights"


def test_query_key_and_value_are_stacked_in_this_order():
    state = {f"text_model.encoder.layers.0.self_attn.{k}_proj.bias": torch.full((2,), n) for n, k in enumerate("qkv")}
    renamed = random_models.clip.to_open_clip(state)
    assert {name: tensor.tolist() for name, tensor in renamed.items()} == {
        "transformer.resblocks.0.attn.in_proj_bias": [0, 0, 1, 1, 2, 2]
    }


def test_the_real_configurations_have_the_published_number_of_parameters():
    with torch.device("meta"):
        flux = diffusers.FluxTransformer2DModel(**random_models.flux1_dev_config())
        sd35 = diffusers.SD3Transformer2DModel(**random_models.sd35_medium_config())
    assert flux.num_parameters() == 11_901_408_320
    assert sd35.num_parameters() + sum(b.numel() for b in sd35.buffers()) == pytest.approx(2.47e9, rel=1e-2)


def test_a_network_is_made_in_memory_in_the_dtype_asked_for():
    config = flux1_tiny_config(guidance=True)
    how = {"device": torch.device("cpu"), "dtype": torch.bfloat16}
    first, same, other = (
        random_models.random_network(diffusers.FluxTransformer2DModel, config, seed=seed, **how) for seed in (0, 0, 1)
    )
    assert not first.training
    assert {parameter.dtype for parameter in first.parameters()} == {torch.bfloat16}
    assert torch.get_default_dtype() == torch.float32
    assert torch.equal(first.proj_out.weight, same.proj_out.weight)
    assert not torch.equal(first.proj_out.weight, other.proj_out.weight)
    sd3 = random_models.random_network(
        diffusers.SD3Transformer2DModel, sd3_tiny_config(dual_attention=True), seed=0, **how
    )
    assert {buffer.dtype for buffer in sd3.buffers()} == {torch.bfloat16}


def test_a_folder_that_holds_anything_is_refused(folders, tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    for family in FAMILIES:
        with pytest.raises(ValueError, match="A new or empty folder is required, got .* Give another --out"):
            random_models.write_random_model(family, tmp_path, size="tiny", seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("family", "size", "message"),
    [
        ("flux2", "tiny", "A family is one of flux1, flux1-schnell, sd3, sd3.5, clip-hps, got 'flux2'"),
        (
            "flux1",
            "12b",
            "The size of a model on disk is one of tiny, got '12b'. Transformers of real size are made in memory",
        ),
    ],
)
def test_an_unknown_family_or_size_is_refused(tmp_path, family, size, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        random_models.write_random_model(family, tmp_path / "model", size=size, seed=0)
    assert not (tmp_path / "model").exists()
