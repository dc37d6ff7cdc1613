"""Policies and scorers with random weights, of the real sizes or tiny, made on the device itself without files."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from flops import flux1_flops, sd3_flops

from g2rpo.policies.adapter import Lora
from g2rpo.policies.compute import Compute
from g2rpo.policies.flux1 import Flux1, Flux1Policy
from g2rpo.policies.latent_policy import Parts
from g2rpo.policies.protocol import Condition, Policy
from g2rpo.policies.sd3 import StableDiffusion3, StableDiffusion3Policy
from g2rpo.random_models import flux1_dev_config, random_network, sd35_medium_config
from g2rpo.random_models.flux1 import flux1_tiny_config
from g2rpo.random_models.sd3 import sd3_tiny_config
from g2rpo.random_models.tokenizers import clip_ids, clip_tokenizer
from g2rpo.rewards.clip import ClipReward
from g2rpo.rewards.hps import clean_text, hps_pixels

LORA_TARGETS = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")
_PATCH = 16  # pixels per token, in each direction
_VAE = {"layers_per_block": 2, "block_out_channels": (128, 256, 512, 512)}
_TINY_VAE = {"layers_per_block": 1, "block_out_channels": (8, 8, 16, 16), "norm_num_groups": 4}
_SCALES = {"flux1": (0.3611, 0.1159), "sd3": (1.5305, 0.0609)}  # of a family's latents: factor and shift
_VIT_H = {  # CLIP ViT-H-14, whose architecture HPS v2.1 has: 986 million parameters
    "projection_dim": 1024,
    "text": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16},
    "vision": {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16},
    "vocabulary": 49408,
    "patch": 14,
}
_TINY_CLIP = {
    "projection_dim": 24,
    "text": {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2},
    "vision": {"hidden_size": 48, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 3},
    "vocabulary": clip_ids()["vocab_size"],
    "patch": 32,
}


@dataclass(frozen=True)
class Model:
    """A family at a size, and the default size of its pictures and texts."""

    family: str
    config: Mapping[str, Any]
    vae: Mapping[str, Any]
    clip: Mapping[str, Any]
    side: int
    text_tokens: int

    @property
    def transformer(self) -> Any:
        """The class of the transformer."""
        return FluxTransformer2DModel if self.family == "flux1" else SD3Transformer2DModel

    def flops(self, height: int, width: int) -> int:
        """Return the operations of one row of this picture size through the transformer."""
        count = flux1_flops if self.family == "flux1" else sd3_flops
        return count(self.config, image_tokens=height * width // _PATCH**2, text_tokens=self.text_tokens)


MODELS = {
    ("flux1", "12b"): Model("flux1", flux1_dev_config(), _VAE, _VIT_H, 720, 512),
    ("flux1", "tiny"): Model("flux1", flux1_tiny_config(guidance=True), _TINY_VAE, _TINY_CLIP, 32, 16),
    ("sd3", "2.5b"): Model("sd3", sd35_medium_config(), _VAE, _VIT_H, 1024, 333),
    ("sd3", "tiny"): Model("sd3", sd3_tiny_config(dual_attention=True), _TINY_VAE, _TINY_CLIP, 32, 16),
}


def make_policy(
    model: Model, compute: Compute, *, height: int, width: int, lora_rank: int, build: Any = random_network
) -> Policy:
    """Return the policy as a run would hold it: with an adapter all else in the compute dtype, without in fp32.

    Args:
        build: Makes a network of a class, a configuration, a device and a dtype.
    """
    lora = Lora(rank=lora_rank, alpha=lora_rank, targets=LORA_TARGETS) if lora_rank else None
    dtype = compute.dtype if lora else torch.float32
    transformer = build(model.transformer, model.config, seed=0, device=compute.device, dtype=dtype)
    vae = build(AutoencoderKL, _vae_config(model), seed=0, device=compute.device, dtype=compute.dtype)
    flux = model.family == "flux1"
    pipeline: Any = FluxPipeline if flux else StableDiffusion3Pipeline
    with tempfile.TemporaryDirectory() as name:
        folder = _folder(Path(name), pipeline.__name__, model.config)
        parts = Parts(folder, pipeline, transformer, vae, lora)
        if flux:
            settings = Flux1(folder, height, width, guidance=3.5, max_sequence_length=model.text_tokens, lora=lora)
            return Flux1Policy(parts, settings, compute, seed=0)
        family = StableDiffusion3(
            folder, height, width, guidance=4.5, negative_prompt="", max_sequence_length=256, lora=lora
        )
        return StableDiffusion3Policy(parts, family, compute, seed=0)


def make_condition(model: Model, rows: int, *, device: torch.device, dtype: torch.dtype) -> Condition:
    """Return random embeddings in place of texts, and of the negative prompt that guidance needs."""

    def embeddings(count: int) -> dict[str, torch.Tensor]:
        shapes = {
            "prompt_embeds": (count, model.text_tokens, model.config["joint_attention_dim"]),
            "pooled_prompt_embeds": (count, model.config["pooled_projection_dim"]),
        }
        return {name: torch.randn(shape, device=device).to(dtype) for name, shape in shapes.items()}

    return Condition(embeddings(rows), {} if model.family == "flux1" else embeddings(1))


def make_scorer(model: Model, *, device: torch.device, build: Any = random_network) -> ClipReward:
    """Return a scorer like HPS, in fp32: its preparation of pictures and texts, and a CLIP of random weights."""
    clip = build(_clip, model.clip, seed=0, device=device, dtype=torch.float32).requires_grad_(False)
    preprocess = partial(hps_pixels, side=224)
    return ClipReward("hps", clip, clip_tokenizer(), preprocess=preprocess, clean=clean_text)


def _clip(**sizes: Any) -> Any:
    from transformers import CLIPConfig, CLIPModel

    shared = {"hidden_act": "gelu", "projection_dim": sizes["projection_dim"]}
    text = {**shared, **sizes["text"], **clip_ids(), "vocab_size": sizes["vocabulary"]}
    vision = {**shared, **sizes["vision"], "image_size": 224, "patch_size": sizes["patch"]}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=sizes["projection_dim"]))


def _vae_config(model: Model) -> dict[str, Any]:
    scale, shift = _SCALES[model.family]
    return {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "latent_channels": 16,
        "scaling_factor": scale,
        "shift_factor": shift,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
        **model.vae,
    }


def _folder(folder: Path, pipeline: str, config: Mapping[str, Any]) -> Path:
    """Write the files that a family's settings read: names of components, the transformer's configuration."""
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    texts = [f"{part}{number}" for part in ("text_encoder", "tokenizer") for number in ("", "_2", "_3")]
    for component in ("transformer", "vae", "scheduler", *texts):
        (folder / component).mkdir()
    (folder / "transformer" / "config.json").write_text(json.dumps(config))
    return folder
