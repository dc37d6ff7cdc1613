"""The small CLIP of tiny_clip in a folder as open_clip publishes one."""

import json
from pathlib import Path
from typing import Any

import torch
from tiny_clip import CONTEXT, DIM, HEADS, LAYERS, PATCH, SIDE, VOCABULARY, WIDTHS, open_clip_state, tiny_tokenizer

from g2rpo.rewards.clip_score import load_clip_score
from g2rpo.rewards.protocol import Reward


def told(**changes: object) -> dict[str, Any]:
    """The config of the tiny CLIP, its vision tower with four heads, and `changes` by path."""
    vision = {"image_size": SIDE, "layers": LAYERS, "width": WIDTHS["vision"], "head_width": 8, "patch_size": PATCH}
    text = {"context_length": CONTEXT, "vocab_size": len(VOCABULARY), "width": WIDTHS["text"], "heads": HEADS}
    model = {"embed_dim": DIM, "vision_cfg": vision, "text_cfg": text | {"layers": LAYERS}}
    config: dict[str, Any] = {"model_cfg": model}
    for path, value in changes.items():
        *parts, last = path.split(".")
        inner = config
        for part in parts:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return config


def write(folder: Path, **changes: object) -> Path:
    """Config, weights and tokenizer."""
    folder.mkdir(exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(told(**changes)))
    torch.save(open_clip_state(), folder / "open_clip_pytorch_model.bin")
    tiny_tokenizer().save_pretrained(folder)
    return folder


def load(folder: Path) -> Reward:
    return load_clip_score("clip_score", weights=folder, device="cpu")
