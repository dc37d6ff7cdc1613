"""HPS v2.1: how well people would like a picture for its text, as the cosine of a CLIP trained on their choices.

Source: Wu et al., "Human Preference Score v2", arXiv:2306.09341, package hpsv2 1.2.0. The checkpoint
(HPS_v2.1_compressed.pt of xswu/HPSv2) is open_clip's ViT-H-14; it is turned in memory into transformers' CLIPModel,
whose architecture and tokenizer come from laion/CLIP-ViT-H-14-laion2B-s32B-b79K. Scores lie about .25 to .35.

Pictures and texts are prepared as the package does it with torchvision 0.17 or later, which antialiases; earlier ones
did not. Two deviations: the network runs in fp32 also on CUDA, where the package uses fp16 autocast, and a picture
whose longer side needs no resizing is padded to a square, where the package fails.
"""

import html
import re
from functools import partial
from pathlib import Path

import torch
from ftfy import fix_text
from torch import Tensor
from torch.nn import functional

from g2rpo.rewards.clip import ClipReward, Pixels, build_network, load_tokenizer, read_config, read_state
from g2rpo.rewards.pictures import to_uint8
from g2rpo.rewards.protocol import Reward
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


def load_hps(name: str, *, weights: Path, clip: Path, device: str | torch.device) -> Reward:
    """Return HPS v2.1 in this process; it scores by the cosine of picture and text, about .25 to .35.

    Args:
        weights: The official checkpoint, a torch file with open_clip's names under `state_dict`.
        clip: Folder with the config.json and the tokenizer of the CLIP that was trained further.

    Raises:
        ValueError: If a file is missing, the architecture is another, or a name or shape does not fit.
    """
    config = read_config(clip)
    for tower in (config.text_config, config.vision_config):
        if (tower.hidden_act, tower.layer_norm_eps) != ("gelu", 1e-5):
            raise ValueError(
                "A CLIP with hidden_act gelu and layer_norm_eps 1e-05 is required by HPS, got "
                f"{tower.hidden_act} and {tower.layer_norm_eps} in {clip / 'config.json'}. Set `clip` of the reward to "
                "laion/CLIP-ViT-H-14-laion2B-s32B-b79K."
            )
    network = build_network(clip, from_open_clip(read_state(weights)), device)
    preprocess = partial(hps_pixels, side=config.vision_config.image_size)
    return ClipReward(name, network, load_tokenizer(clip, network), preprocess=preprocess, clean=clean_text)


def hps_pixels(images: Images, *, side: int) -> Pixels:
    """Return pictures as the package shows them to the network: longer side resized, padded with black, normalised.

    Example: at side 224, 100x200 becomes 112x224 with 56 black rows above and 56 below.
    """
    pictures = to_uint8(images).permute(0, 3, 1, 2).contiguous().float() / 255
    height, width = pictures.shape[2:]
    scale = side / max(height, width)
    height, width = round(height * scale), round(width * scale)
    if scale != 1:
        pictures = functional.interpolate(pictures, (height, width), mode="bicubic", antialias=True)
    top, left = (side - height) // 2, (side - width) // 2
    pictures = functional.pad(pictures, (left, side - width - left, top, side - height - top))
    return (pictures - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def clean_text(text: str) -> str:
    """Return a text as the package cleans it: encoding mended, HTML entities read, single white space, lower case.

    Example: "Caf&eacute;  &amp;amp; crÃ¨me" becomes "café & crème".
    """
    return " ".join(html.unescape(html.unescape(fix_text(text))).split()).lower()


def from_open_clip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of open_clip's CLIP under the names and shapes of transformers' CLIPModel.

    open_clip keeps query, key and value of an attention in one tensor and multiplies by projections from the right.

    Raises:
        ValueError: If a name is none of open_clip's.
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
            "A checkpoint with the names of open_clip's ViT-H-14 is required by HPS, got besides "
            f"{', '.join(unknown[:3])} ({len(unknown)} unknown of {len(state)}). Set `weights` of the reward to "
            "HPS_v2.1_compressed.pt of xswu/HPSv2."
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
