"""ImageReward v1.0: what people prefer, by a BLIP that was trained on their rankings.

    r = (mlp(h) - 0.16717362830052426) / 1.0333394966054072,

with h the state of [CLS] of the text, which looks at the picture by cross attention. Mean 0 and deviation 1 over the
authors' pictures; most are within [-2, 2]. Source: arXiv:2304.05977, and the package image-reward 1.5.
Deviations: pictures are first rounded to 8 bits; the batch goes through the network at once.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from g2rpo.model_files.reading import read_config
from g2rpo.model_files.weights import load_tokenizer, refuse_too_few
from g2rpo.rewards.blip import SIDE, Blip, renamed, text_fields_missing, vision_size
from g2rpo.rewards.clip import read_state
from g2rpo.rewards.pictures import check_counts, middle, to_pil
from g2rpo.rewards.protocol import Reward
from g2rpo.types import Images, Rewards

MEAN, STD = 0.16717362830052426, 1.0333394966054072
MAX_TOKENS = 35
_PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
_PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)


class ImageRewardModel(nn.Module):
    """BLIP and the head that turns the state of [CLS] into a number; the head has no activations."""

    def __init__(self, blip: Blip, text_width: int) -> None:
        super().__init__()
        self.blip = blip
        layers = nn.Sequential(  # its dropouts, 1, 3 and 5, are for training only
            *(nn.Linear(text_width, 1024), nn.Identity()),
            *(nn.Linear(1024, 128), nn.Identity()),
            *(nn.Linear(128, 64), nn.Identity()),
            *(nn.Linear(64, 16), nn.Linear(16, 1)),
        )
        self.mlp = nn.ModuleDict({"layers": layers})

    def forward(self, images: Images, tokens: Tensor, mask: Tensor) -> Rewards:
        """Return r of normalised pictures and tokenised texts."""
        return (self.mlp["layers"](self.blip(images, tokens, mask))[:, 0] - MEAN) / STD


class ImageReward:
    """The score of ImageReward v1.0, about 0 on average and mostly within [-2, 2]."""

    def __init__(self, name: str, module: ImageRewardModel, tokenizer: Any) -> None:
        self.name = name
        self.module = module
        self._tokenizer = tokenizer

    def score(self, images: Images, texts: Sequence[str]) -> Rewards:
        """Return one score per picture; only the first 35 tokens of a text are read.

        Raises:
            ValueError: If there are not as many texts as pictures.
        """
        check_counts(self.name, images, texts)
        device = next(self.module.parameters()).device
        pixels = torch.stack([preprocess(picture) for picture in to_pil(images)]).to(device)
        tokens = self._tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            scores = self.module(pixels, tokens["input_ids"].to(device), tokens["attention_mask"].bool().to(device))
        return scores.to(images.device)


def preprocess(picture: Image.Image) -> Float[Tensor, "3 h w"]:
    """Return the picture with its shorter side resized to 224, cut to the middle, normalised as for CLIP."""
    picture = middle(picture)
    width, height = picture.size
    short = min(width, height)
    width, height = (SIDE * width) // short, (SIDE * height) // short
    left, top = round((width - SIDE) / 2), round((height - SIDE) / 2)
    resized = picture.resize((width, height), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(resized.crop((left, top, left + SIDE, top + SIDE))))
    scaled = pixels.permute(2, 0, 1).float() / 255
    return (scaled - torch.tensor(_PIXEL_MEAN)[:, None, None]) / torch.tensor(_PIXEL_STD)[:, None, None]


def load_image_reward(name: str, *, weights: Path, config: Path, tokenizer: Path, device: str | torch.device) -> Reward:
    """Return ImageReward v1.0, or a model of the same build and another size.

    Args:
        weights: ImageReward.pt, the official state dict.
        config: med_config.json, the configuration of its BERT.
        tokenizer: Folder of bert-base-uncased; [DEC] and [ENC] are added, as BLIP does.

    Raises:
        ValueError: If a file is missing or cannot be read, or if the three do not fit together.
    """
    settings = _read_config(name, config)
    bert_tokenizer = _read_tokenizer(name, tokenizer, settings["vocab_size"])
    state = read_state(weights)
    blip = {key.removeprefix("blip."): tensor for key, tensor in state.items() if key.startswith("blip.")}
    if "visual_encoder.cls_token" not in blip:
        raise ValueError(
            f"{weights} must hold the state dict of ImageReward v1.0, with names such as "
            f"blip.visual_encoder.cls_token, got {', '.join(sorted(state)[:3])}. "
            f"Set `rewards.{name}.weights` to ImageReward.pt."
        )
    width, depth = vision_size(blip)
    with torch.device("meta"):
        empty = _model(width, depth, settings)
    refuse_too_few(sum(tensor.numel() for tensor in state.values()), empty, str(config))
    module = _model(width, depth, settings)
    tensors = {f"blip.{key}": tensor for key, tensor in renamed(blip).items()}
    tensors |= {key: tensor for key, tensor in state.items() if key.startswith("mlp.")}
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(
            f"{weights} and {config} must belong together, got: {_first_lines(error)} "
            f"Set `rewards.{name}.weights` and `rewards.{name}.config` to ImageReward.pt and its med_config.json."
        ) from error
    return ImageReward(name, module.requires_grad_(False).eval().to(device), bert_tokenizer)


def _model(width: int, depth: int, settings: Mapping[str, Any]) -> ImageRewardModel:
    return ImageRewardModel(Blip(vision_width=width, vision_depth=depth, text=settings), settings["hidden_size"])


def _first_lines(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines()[1:4]]
    return " ".join(line if len(line) < 200 else f"{line[:200]}..." for line in lines)


def _read_config(name: str, config: Path) -> dict[str, Any]:
    if not config.is_file():
        raise ValueError(
            f"The configuration of {name} must be a file, got {config}, which is none. "
            f"Set `rewards.{name}.config` to med_config.json."
        )
    try:
        settings = read_config(config, config.parent)
    except ValueError as error:
        raise ValueError(f"{error} Fetch med_config.json again.") from error
    missing = text_fields_missing(settings)
    if missing:
        raise ValueError(f"{config} must have {', '.join(missing)}, got no such field. Fetch med_config.json again.")
    return settings


def _read_tokenizer(name: str, folder: Path, vocab_size: int) -> Any:
    from transformers import BertTokenizer

    if not (folder / "vocab.txt").is_file() and not (folder / "tokenizer.json").is_file():
        raise ValueError(
            f"The tokenizer of {name} must be a folder with vocab.txt or tokenizer.json, got {folder}. "
            f"Set `rewards.{name}.tokenizer` to bert-base-uncased."
        )
    tokenizer = load_tokenizer(BertTokenizer, folder)
    tokenizer.add_special_tokens({"bos_token": "[DEC]", "additional_special_tokens": ["[ENC]"]})
    if len(tokenizer) != vocab_size:
        raise ValueError(
            f"The tokenizer of {name} must have the {vocab_size} words of its configuration, [DEC] and [ENC] "
            f"included, got {len(tokenizer)} in {folder}. Set `rewards.{name}.tokenizer` to bert-base-uncased."
        )
    return tokenizer
