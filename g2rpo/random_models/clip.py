"""CLIP with random weights, in the files of transformers and in the checkpoint format of HPS v2."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from g2rpo.random_models.tokenizers import CLIP_LENGTH, clip_ids, clip_tokenizer, write_clip_vocabulary
from g2rpo.random_models.weights import check_empty, made

HPS_FILE = "HPS_v2.1_compressed.pt"

_PROJECTION = 24
_TEXT, _VISION = 32, 48  # widths
_LAYERS = 2
_PREPROCESSING = {  # preprocessor_config.json of the published CLIP models
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_processor_type": "CLIPImageProcessor",
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 224},
}
_NAMES = {  # parts of transformers' names: of open_clip's
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding": "visual.conv1",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm": "visual.ln_pre",
    "vision_model.post_layernorm": "visual.ln_post",
    "text_model.embeddings.token_embedding": "token_embedding",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm": "ln_final",
    "vision_model.encoder.layers": "visual.transformer.resblocks",
    "text_model.encoder.layers": "transformer.resblocks",
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def write_clip_hps(folder: Path, *, seed: int) -> None:
    """Write a tiny random CLIP as transformers reads it, and beside it an HPS v2.1 checkpoint of the same architecture.

    The folder serves wherever a CLIP does (CLIP score, PickScore, the architecture and tokenizer of HPS): config.json,
    model.safetensors, the tokenizer and preprocessor_config.json. `HPS_v2.1_compressed.pt` holds other weights, as a
    fine-tuned model does, as {"state_dict": ...} under open_clip's names and in fp16, as published. Pictures are of
    224 px, as of the real one.

    Args:
        folder: A new or empty folder.
        seed: Decides every weight; the files of a seed are the same bit for bit.

    Raises:
        ValueError: If the folder holds anything.
    """
    check_empty(folder)
    from g2rpo.quiet import quietly

    with quietly():
        _clip(seed=seed, name="clip").save_pretrained(folder, safe_serialization=True)
    clip_tokenizer().save_pretrained(folder)
    write_clip_vocabulary(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(_PREPROCESSING, indent=2) + "\n", encoding="utf-8")
    tensors = to_open_clip(_clip(seed=seed, name="hps").state_dict())
    torch.save({"state_dict": {name: tensor.half() for name, tensor in tensors.items()}}, folder / HPS_FILE)


def to_open_clip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of a `transformers.CLIPModel` under the names of open_clip.

    open_clip keeps query, key and value in one matrix (`attn.in_proj_weight`, stacked in this order), and its
    projections multiply from the right (`features @ visual.proj`), so that they are transposed.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if "self_attn.q_proj" in name:
            parts = [state[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            tensors[_renamed(name.replace("self_attn.q_proj.", "attn.in_proj_"))] = torch.cat(parts)
        elif name in ("visual_projection.weight", "text_projection.weight"):
            tensors["visual.proj" if name.startswith("visual") else "text_projection"] = tensor.T.contiguous()
        elif "k_proj" not in name and "v_proj" not in name:
            tensors[_renamed(name)] = tensor
    return tensors


def _renamed(name: str) -> str:
    for ours, theirs in _NAMES.items():
        name = name.replace(ours, theirs)
    return name


def _clip(*, seed: int, name: str) -> Any:
    from transformers import CLIPConfig, CLIPModel

    shared = {"num_hidden_layers": _LAYERS, "hidden_act": "gelu", "projection_dim": _PROJECTION}
    text = {"hidden_size": _TEXT, "intermediate_size": 4 * _TEXT, "num_attention_heads": _TEXT // 16}
    vision = {"hidden_size": _VISION, "intermediate_size": 4 * _VISION, "num_attention_heads": _VISION // 16}
    config = CLIPConfig(
        text_config={**shared, **text, "max_position_embeddings": CLIP_LENGTH, **clip_ids()},
        vision_config={**shared, **vision, "image_size": 224, "patch_size": 32},
        projection_dim=_PROJECTION,
        logit_scale_init_value=4.6052,  # ln 100, as trained ones have it
    )
    return made(lambda: CLIPModel(config), seed=seed, name=name)
