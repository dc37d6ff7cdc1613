"""FLUX.1 with random weights: a complete folder of a tiny pipeline, and the configuration of the real transformer."""

from pathlib import Path
from typing import Any

from g2rpo.random_models.parts import autoencoder, clip_text_config, t5_encoder
from g2rpo.random_models.tokenizers import clip_tokenizer, t5_tokenizer, write_clip_vocabulary
from g2rpo.random_models.weights import check_empty, made

_WIDTH = 32
_SCHEDULE: dict[str, Any] = {  # scheduler/scheduler_config.json of the published models
    "base_image_seq_len": 256,
    "base_shift": 0.5,
    "max_image_seq_len": 4096,
    "max_shift": 1.15,
    "num_train_timesteps": 1000,
}


def flux1_dev_config() -> dict[str, Any]:
    """Return the configuration of FLUX.1-dev's transformer, of 11.9 billion parameters."""
    return {
        "patch_size": 1,
        "in_channels": 64,
        "num_layers": 19,
        "num_single_layers": 38,
        "attention_head_dim": 128,
        "num_attention_heads": 24,
        "joint_attention_dim": 4096,
        "pooled_projection_dim": 768,
        "guidance_embeds": True,
        "axes_dims_rope": (16, 56, 56),
    }


def flux1_tiny_config(*, guidance: bool) -> dict[str, Any]:
    """Return the same, with two blocks of each kind and two heads of 16."""
    return flux1_dev_config() | {
        "num_layers": 2,
        "num_single_layers": 2,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": _WIDTH,
        "pooled_projection_dim": _WIDTH,
        "guidance_embeds": guidance,
        "axes_dims_rope": (4, 6, 6),
    }


def write_flux1(folder: Path, *, seed: int, guidance: bool) -> None:
    """Write a tiny random FLUX.1 that `diffusers.DiffusionPipeline.from_pretrained` loads.

    Args:
        folder: A new or empty folder.
        seed: Decides every weight; the files of a seed are the same bit for bit.
        guidance: Of the kind of FLUX.1-dev, with guidance as an input and levels shifted by the number of tokens, or
            of the kind of FLUX.1-schnell, with neither.

    Raises:
        ValueError: If the folder holds anything.
    """
    check_empty(folder)
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.models import FluxTransformer2DModel
    from diffusers.pipelines import FluxPipeline
    from transformers import CLIPTextModel

    config = flux1_tiny_config(guidance=guidance)
    text_config = clip_text_config(width=_WIDTH, act="quick_gelu")
    shift = 3.0 if guidance else 1.0
    pipeline: Any = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**_SCHEDULE, shift=shift, use_dynamic_shifting=guidance),
        vae=autoencoder(scaling=0.3611, shift=0.1159, seed=seed),
        text_encoder=made(lambda: CLIPTextModel(text_config), seed=seed, name="text_encoder"),
        tokenizer=clip_tokenizer(),
        text_encoder_2=t5_encoder(width=_WIDTH, seed=seed, name="text_encoder_2"),
        tokenizer_2=t5_tokenizer(),
        transformer=made(lambda: FluxTransformer2DModel(**config), seed=seed, name="transformer"),
    )
    from g2rpo.quiet import quietly

    with quietly():
        pipeline.save_pretrained(folder, safe_serialization=True)
    write_clip_vocabulary(folder / "tokenizer")
    (folder / "tokenizer" / "tokenizer.json").unlink()  # the published models come without it
