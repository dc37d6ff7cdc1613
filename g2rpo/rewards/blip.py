"""The part of BLIP that ImageReward uses: a ViT, and a BERT that looks at the ViT's tokens by cross attention.

The networks are those of transformers; the state dict in the names of the official BLIP code (arXiv:2201.12086) is
renamed for them. Two things differ from the defaults of transformers: the layer norms of the ViT have eps = 1e-6, and
BERT reads the whole text both ways although it has cross attention.
"""

import re
from collections.abc import Mapping
from typing import Any

from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from transformers import BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

from g2rpo.types import Images

SIDE, PATCH, HEAD_WIDTH = 224, 16, 64
_TEXT_FIELDS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "layer_norm_eps",
    "hidden_act",
    "pad_token_id",
)
_RENAMED = (
    (r"^text_encoder\.", "text."),
    (r"^visual_encoder\.cls_token$", "vision.embeddings.class_embedding"),
    (r"^visual_encoder\.pos_embed$", "vision.embeddings.position_embedding"),
    (r"^visual_encoder\.patch_embed\.proj\.", "vision.embeddings.patch_embedding."),
    (r"^visual_encoder\.norm\.", "vision.post_layernorm."),
    (r"^visual_encoder\.blocks\.(\d+)\.norm([12])\.", r"vision.encoder.layers.\1.layer_norm\2."),
    (r"^visual_encoder\.blocks\.(\d+)\.attn\.qkv\.", r"vision.encoder.layers.\1.self_attn.qkv."),
    (r"^visual_encoder\.blocks\.(\d+)\.attn\.proj\.", r"vision.encoder.layers.\1.self_attn.projection."),
    (r"^visual_encoder\.blocks\.(\d+)\.mlp\.", r"vision.encoder.layers.\1.mlp."),
)


class Blip(nn.Module):
    """Encodes a text in the context of a picture.

    Args:
        vision_width: Width of the ViT, a multiple of the head width 64 (ViT-L: 1024).
        vision_depth: Its blocks (ViT-L: 24).
        text: BERT's configuration, as med_config.json of the official code has it.
    """

    def __init__(self, *, vision_width: int, vision_depth: int, text: Mapping[str, Any]) -> None:
        super().__init__()
        self.vision = BlipVisionModel(
            BlipVisionConfig(
                hidden_size=vision_width,
                intermediate_size=4 * vision_width,
                num_hidden_layers=vision_depth,
                num_attention_heads=vision_width // HEAD_WIDTH,
                image_size=SIDE,
                patch_size=PATCH,
                layer_norm_eps=1e-6,
            )
        )
        settings = {field: text[field] for field in _TEXT_FIELDS}
        # is_decoder gives the layers their cross attention; the call below says that the text is read both ways
        config = BlipTextConfig(
            **settings, encoder_hidden_size=vision_width, is_decoder=True, bos_token_id=None, sep_token_id=None
        )
        self.text = BlipTextModel(config, add_pooling_layer=False)

    def forward(
        self, images: Images, tokens: Int64[Tensor, "b t"], mask: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b width"]:
        """Return the state of the first token, [CLS], of each text.

        Args:
            images: Pictures of side 224, normalised as for CLIP.
            mask: False where a text is padded.
        """
        vision = self.vision(pixel_values=images).last_hidden_state
        states = self.text(input_ids=tokens, attention_mask=mask, encoder_hidden_states=vision, is_decoder=False)
        return states.last_hidden_state[:, 0]


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of an official BLIP state dict under the names of `Blip`, without those that it does not have.

    Example: `visual_encoder.blocks.3.norm1.bias` becomes `vision.encoder.layers.3.layer_norm1.bias`;
    `vision_proj.weight`, of the contrastive loss, is left out.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.startswith(("visual_encoder.", "text_encoder.")) and not name.endswith(".position_ids"):
            tensors[_renamed(name)] = tensor
    return tensors


def _renamed(name: str) -> str:
    for pattern, replacement in _RENAMED:
        if re.search(pattern, name):
            return re.sub(pattern, replacement, name)
    return name


def vision_size(state: Mapping[str, Tensor]) -> tuple[int, int]:
    """Return width and depth of the ViT of an official BLIP state dict: ViT-L is (1024, 24)."""
    blocks = {int(match[1]) for name in state if (match := re.match(r"visual_encoder\.blocks\.(\d+)\.", name))}
    return state["visual_encoder.cls_token"].shape[-1], len(blocks)


def text_fields_missing(config: Mapping[str, Any]) -> list[str]:
    """Return the required fields that a BERT configuration does not have."""
    return [field for field in _TEXT_FIELDS if field not in config]
