"""The description of a CLIP in open_clip_config.json: its network, its preparation of pictures and texts.

It must be open_clip's plain CLIP, which transformers' CLIPModel is too: two transformers with normalisation first and
layer_norm_eps 1e-05; a picture's embedding is that of its class token, a text's, by causal attention, that of its end.
A config with anything else is refused, key by key.

Source: package open_clip_torch 3.3.0, whose defaults are those below.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError, model_validator
from transformers import CLIPConfig

from g2rpo.model_files.reading import MOST_LAYERS, read_bytes
from g2rpo.rewards.clip import OPEN_CLIP, Preprocess
from g2rpo.rewards.open_clip_format import MEAN, STD, clean_text, mend_text, open_clip_pixels

CONFIG = "open_clip_config.json"


_Layers = Annotated[int, Field(ge=1, le=MOST_LAYERS)]


class _Known(BaseModel):
    """A part of the file, with these keys only. `None` and `Literal` fix a plain CLIP's values, `Any` has no effect."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Tower(_Known):
    mlp_ratio: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 4.0

    ls_init_value: None = None
    final_ln_after_pool: Literal[False] = False
    output_tokens: Literal[False] = False
    act_kwargs: None = None
    norm_kwargs: None = None
    block_type: Literal["default"] | None = None
    qk_norm: Literal[False] = False
    scaled_cosine_attn: Literal[False] = False
    scale_heads: Literal[False] = False
    scale_attn_inner: Literal[False] = False
    scale_attn: Literal[False] = False
    scale_fc: Literal[False] = False


class _Vision(_Tower):
    layers: _Layers = 12
    width: PositiveInt = 768
    head_width: PositiveInt = 64
    patch_size: PositiveInt = 16
    image_size: PositiveInt = 224

    attentional_pool: Literal[False] = False
    no_ln_pre: Literal[False] = False
    pos_embed_type: Literal["learnable"] = "learnable"
    pool_type: Literal["tok"] = "tok"
    timm_model_name: None = None

    patch_dropout: Any = None  # while it is trained
    attn_pooler_queries: Any = None
    attn_pooler_heads: Any = None
    timm_model_pretrained: Any = None
    timm_pool: Any = None
    timm_proj: Any = None
    timm_proj_bias: Any = None
    timm_drop: Any = None
    timm_drop_path: Any = None

    @model_validator(mode="after")
    def _has_whole_heads(self) -> "_Vision":
        if self.width % self.head_width:
            raise ValueError(f"width {self.width} should be a multiple of head_width {self.head_width}")
        return self


class _Text(_Tower):
    context_length: PositiveInt = 77
    vocab_size: Annotated[int, Field(ge=2)] = 49408
    hf_tokenizer_name: str | None = None
    width: PositiveInt = 512
    heads: PositiveInt = 8
    layers: _Layers = 12

    tokenizer_mode: None = None
    tokenizer_kwargs: None = None
    embed_cls: Literal[False] = False
    no_causal_mask: Literal[False] = False
    pool_type: Literal["argmax"] = "argmax"
    proj_bias: Literal[False] = False
    proj_type: Literal["linear"] = "linear"
    hf_model_name: None = None

    pad_id: Any = None
    eos_id: Any = None
    hf_model_pretrained: Any = None
    hf_proj_type: Any = None
    hf_pooler_type: Any = None

    @model_validator(mode="after")
    def _has_whole_heads(self) -> "_Text":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} should be a multiple of heads {self.heads}")
        return self


class _Clip(_Known):
    embed_dim: PositiveInt
    vision_cfg: _Vision
    text_cfg: _Text
    quick_gelu: bool = False

    custom_text: Literal[False] = False
    init_logit_bias: None = None
    nonscalar_logit_scale: Literal[False] = False

    init_logit_scale: Any = None
    output_dict: Any = None


class _Pictures(_Known):
    mean: tuple[float, float, float] | None = None
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None
    interpolation: Literal["bicubic", "bilinear"] | None = None
    resize_mode: Literal["shortest", "squash"] | None = None
    mode: Literal["RGB"] | None = None

    size: Any = None  # the network's size is used
    fill_color: Any = None  # for resize_mode longest


class _File(_Known):
    model_config = ConfigDict(extra="ignore")  # open_clip reads these two

    model_cfg: _Clip
    preprocess_cfg: _Pictures | None = None


@dataclass(frozen=True)
class OpenClip:
    """The description of a CLIP in open_clip_config.json.

    Args:
        config: The architecture, for transformers.
        preprocess: Turns pictures in [0, 1] into the input of the network.
        clean: Cleans a text before it is split into tokens.
    """

    config: CLIPConfig
    preprocess: Preprocess
    clean: Callable[[str], str]


def open_clip_weights(folder: Path) -> Path | None:
    """Return the weights of a folder in open_clip's format, safetensors first; None if it is no such folder."""
    weights = [folder / name for name in OPEN_CLIP if (folder / name).is_file()]
    return weights[0] if weights and (folder / CONFIG).is_file() else None


def read_open_clip(folder: Path) -> OpenClip:
    """Return the network and its preparation of pictures and texts by a folder's open_clip_config.json.

    Raises:
        ValueError: If the file is invalid, or describes anything but a plain CLIP.
    """
    try:
        file = _File.model_validate_json(read_bytes(folder / CONFIG, folder))
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, e['loc']))} {e['input']!r} ({e['msg']})"[:300] for e in error.errors()]
        raise ValueError(
            f"The {CONFIG} of a plain CLIP is required in {folder}, got {'; '.join(wrong[:3])}"
            f"{f' and {len(wrong) - 3} more' if len(wrong) > 3 else ''}. Name the folder of a plain CLIP; or one "
            f"without {CONFIG} that has the model in transformers' format."
        ) from error
    clip, pictures = file.model_cfg, file.preprocess_cfg or _Pictures()
    preprocess = partial(
        open_clip_pixels,
        side=clip.vision_cfg.image_size,
        squash=pictures.resize_mode == "squash",
        resample=Image.Resampling.BILINEAR if pictures.interpolation == "bilinear" else Image.Resampling.BICUBIC,
        mean=pictures.mean or MEAN,
        std=pictures.std or STD,
    )
    # open_clip's own tokenizer lowers the case as Python does, that of transformers letter by letter
    return OpenClip(_config(clip), preprocess, mend_text if clip.text_cfg.hf_tokenizer_name else clean_text)


def _config(clip: _Clip) -> CLIPConfig:
    text, vision = clip.text_cfg, clip.vision_cfg

    def tower(part: _Text | _Vision, heads: int) -> dict[str, Any]:
        return {
            "hidden_size": part.width,
            "intermediate_size": int(part.width * part.mlp_ratio),
            "num_hidden_layers": part.layers,
            "num_attention_heads": heads,
            "hidden_act": "quick_gelu" if clip.quick_gelu else "gelu",
            "layer_norm_eps": 1e-5,
            "projection_dim": clip.embed_dim,
        }

    # open_clip reads a text at its highest token, which is the last of the vocabulary, its end of text
    words = {"vocab_size": text.vocab_size, "bos_token_id": text.vocab_size - 2, "eos_token_id": text.vocab_size - 1}
    sizes = {"image_size": vision.image_size, "patch_size": vision.patch_size}
    return CLIPConfig(
        text_config=tower(text, text.heads) | words | {"max_position_embeddings": text.context_length},
        vision_config=tower(vision, vision.width // vision.head_width) | sizes,
        projection_dim=clip.embed_dim,
    )
