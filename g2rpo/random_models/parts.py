"""The parts that the pipelines of FLUX.1 and SD3 have in common, tiny: text encoders and the autoencoder."""

from typing import Any

from g2rpo.random_models.tokenizers import CLIP_LENGTH, clip_ids, t5_pieces
from g2rpo.random_models.weights import made


def clip_text_config(*, width: int, act: str) -> Any:
    """Return the configuration of a CLIP text model of two layers, heads of 16, projected to its own width."""
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=width // 16,
        max_position_embeddings=CLIP_LENGTH,
        hidden_act=act,
        **clip_ids(),
    )


def t5_encoder(*, width: int, seed: int, name: str) -> Any:
    """Return a `transformers.T5EncoderModel` of two layers with the gated feed-forward of T5 1.1."""
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=len(t5_pieces()),
        d_model=width,
        d_kv=16,
        d_ff=2 * width,
        num_layers=2,
        num_heads=width // 16,
        feed_forward_proj="gated-gelu",
    )
    return made(lambda: T5EncoderModel(config), seed=seed, name=name)


def autoencoder(*, scaling: float, shift: float, seed: int) -> Any:
    """Return a `diffusers.AutoencoderKL` as FLUX.1 and SD3 have it: 16 channels, 8x smaller, no 1x1 convolutions."""
    from diffusers.models import AutoencoderKL

    config: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (8, 8, 16, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "latent_channels": 16,
        "sample_size": 1024,
        "scaling_factor": scaling,
        "shift_factor": shift,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    }
    return made(lambda: AutoencoderKL(**config), seed=seed, name="vae")
