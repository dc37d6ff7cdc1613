"""open_clip's format of a CLIP: its names of the weights, and how it prepares pictures and texts.

Source: package open_clip_torch 3.3.0.
"""

import html
import re

import numpy as np
import torch
from ftfy import fix_text
from PIL import Image
from torch import Tensor

from g2rpo.rewards.clip import Pixels
from g2rpo.rewards.pictures import middle, to_pil
from g2rpo.types import Images

MEAN = (0.48145466, 0.4578275, 0.40821073)  # of the pictures CLIP was trained on, in red, green, blue
STD = (0.26862954, 0.26130258, 0.27577711)

_TEXT, _VISION = "text_model", "vision_model"
_NAMES = {
    "logit_scale": "logit_scale",
    "positional_embedding": f"{_TEXT}.embeddings.position_embedding.weight",
    "token_embedding.weight": f"{_TEXT}.embeddings.token_embedding.weight",
    "ln_final.weight": f"{_TEXT}.final_layer_norm.weight",
    "ln_final.bias": f"{_TEXT}.final_layer_norm.bias",
    "visual.class_embedding": f"{_VISION}.embeddings.class_embedding",
    "visual.positional_embedding": f"{_VISION}.embeddings.position_embedding.weight",
    "visual.conv1.weight": f"{_VISION}.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": f"{_VISION}.pre_layrnorm.weight",  # transformers' own spelling
    "visual.ln_pre.bias": f"{_VISION}.pre_layrnorm.bias",
    "visual.ln_post.weight": f"{_VISION}.post_layernorm.weight",
    "visual.ln_post.bias": f"{_VISION}.post_layernorm.bias",
}
_TRANSPOSED = {"text_projection": "text_projection.weight", "visual.proj": "visual_projection.weight"}
_BLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)\.(\w+)")
_LAYERS = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
_THIRDS = {"in_proj_weight": "weight", "in_proj_bias": "bias"}


def open_clip_pixels(
    images: Images,
    *,
    side: int,
    squash: bool,
    resample: Image.Resampling,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> Pixels:
    """Return pictures as open_clip shows them to the network: resized by Pillow on 8 bits, and normalised.

    Args:
        squash: Both sides become `side`; else the shorter one does, and the middle of the longer one is kept.
    """
    prepared: list[Image.Image] = []
    for whole in to_pil(images):
        picture = whole if squash else middle(whole)
        wide, high = (side, side) if squash else (int(side * length / min(picture.size)) for length in picture.size)
        left, top = round((wide - side) / 2), round((high - side) / 2)
        prepared.append(picture.resize((wide, high), resample).crop((left, top, left + side, top + side)))
    pixels = torch.from_numpy(np.stack([np.asarray(picture) for picture in prepared])).permute(0, 3, 1, 2).float() / 255
    return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def mend_text(text: str) -> str:
    """Return a text with its encoding mended, HTML entities read, and single white space."""
    return " ".join(html.unescape(html.unescape(fix_text(text))).split())


def clean_text(text: str) -> str:
    """Return a text as open_clip cleans it: encoding mended, HTML entities read, single white space, lower case.

    Example: "Caf&eacute;  &amp;amp; crÃ¨me" becomes "café & crème".
    """
    return mend_text(text).lower()


def from_open_clip(state: dict[str, Tensor], *, source: str = "a plain CLIP of open_clip") -> dict[str, Tensor]:
    """Return the weights of open_clip's CLIP under the names and shapes of transformers' CLIPModel.

    open_clip keeps query, key and value of an attention in one tensor and multiplies by projections from the right.

    Args:
        source: The right weights, for the error.

    Raises:
        ValueError: If a name is not one of open_clip's.
    """
    converted: dict[str, Tensor] = {}
    unknown: list[str] = []
    for name, value in state.items():
        if name in _NAMES:
            converted[_NAMES[name]] = value
        elif name in _TRANSPOSED:
            converted[_TRANSPOSED[name]] = value.T.contiguous()
        elif block := _of_block(name, value):
            converted |= block
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(
            "A checkpoint with the names of open_clip's CLIP is required, got also "
            f"{', '.join(unknown[:3])} ({len(unknown)} unknown of {len(state)}). Set `weights` of the reward to "
            f"{source}."
        )
    return converted


def _of_block(name: str, value: Tensor) -> dict[str, Tensor]:
    match = _BLOCK.fullmatch(name)
    if match is None:
        return {}
    visual, number, layer, kind = match.groups()
    prefix = f"{_VISION if visual else _TEXT}.encoder.layers.{number}"
    if layer == "attn" and kind in _THIRDS:
        parts = zip("qkv", value.chunk(3), strict=False)
        return {f"{prefix}.self_attn.{part}_proj.{_THIRDS[kind]}": third.contiguous() for part, third in parts}
    return {f"{prefix}.{_LAYERS[layer]}.{kind}": value} if layer in _LAYERS else {}
