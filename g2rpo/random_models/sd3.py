"""Stable Diffusion 3 with random weights: a complete tiny pipeline, and the real transformer's configuration."""

from pathlib import Path
from typing import Any

from g2rpo.random_models.parts import autoencoder, clip_text_config, t5_encoder
from g2rpo.random_models.tokenizers import clip_tokenizer, t5_tokenizer, write_clip_vocabulary
from g2rpo.random_models.weights import check_empty, made

_WIDTHS = (32, 48)  # of the two CLIP encoders; together less than T5's, as in the real one
_JOINT = 96


def sd35_medium_config() -> dict[str, Any]:
    """Return the configuration of SD3.5 medium's transformer: 2.2 billion parameters and 0.2 of positions."""
    return {
        "sample_size": 128,
        "patch_size": 2,
        "in_channels": 16,
        "num_layers": 24,
        "attention_head_dim": 64,
        "num_attention_heads": 24,
        "joint_attention_dim": 4096,
        "caption_projection_dim": 1536,
        "pooled_projection_dim": 2048,
        "out_channels": 16,
        "pos_embed_max_size": 384,
        "dual_attention_layers": tuple(range(13)),
        "qk_norm": "rms_norm",
    }


def sd3_tiny_config(*, dual_attention: bool) -> dict[str, Any]:
    """Return the same, with three blocks and two heads of 16; without dual attention also without norms of q and k."""
    return sd35_medium_config() | {
        "sample_size": 8,
        "num_layers": 3,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": _JOINT,
        "caption_projection_dim": 32,
        "pooled_projection_dim": sum(_WIDTHS),
        "pos_embed_max_size": 32,
        "dual_attention_layers": (0, 1) if dual_attention else (),
        "qk_norm": "rms_norm" if dual_attention else None,
    }


def write_sd3(folder: Path, *, seed: int, dual_attention: bool) -> None:
    """Write a tiny random Stable Diffusion 3 that `diffusers.DiffusionPipeline.from_pretrained` loads.

    Args:
        folder: A new or empty folder.
        seed: Decides every weight; the files of a seed are the same bit for bit.
        dual_attention: Of the kind of SD3.5 medium, with dual attention and norms of q and k, or of SD3, without.

    Raises:
        ValueError: If the folder holds anything.
    """
    check_empty(folder)
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.models import SD3Transformer2DModel
    from diffusers.pipelines import StableDiffusion3Pipeline
    from transformers import CLIPTextModelWithProjection

    config = sd3_tiny_config(dual_attention=dual_attention)
    first, second = (
        clip_text_config(width=width, act=act) for width, act in zip(_WIDTHS, ("quick_gelu", "gelu"), strict=True)
    )
    pipeline: Any = StableDiffusion3Pipeline(
        transformer=made(lambda: SD3Transformer2DModel(**config), seed=seed, name="transformer"),
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0),
        vae=autoencoder(scaling=1.5305, shift=0.0609, seed=seed),
        text_encoder=made(lambda: CLIPTextModelWithProjection(first), seed=seed, name="text_encoder"),
        tokenizer=clip_tokenizer(),
        text_encoder_2=made(lambda: CLIPTextModelWithProjection(second), seed=seed, name="text_encoder_2"),
        tokenizer_2=clip_tokenizer(pad="!"),
        text_encoder_3=t5_encoder(width=_JOINT, seed=seed, name="text_encoder_3"),
        tokenizer_3=t5_tokenizer(),
    )
    from g2rpo.quiet import quietly

    with quietly():
        pipeline.save_pretrained(folder, safe_serialization=True)
    for name in ("tokenizer", "tokenizer_2"):
        write_clip_vocabulary(folder / name)
        (folder / name / "tokenizer.json").unlink()  # the published models come without it
