"""HPS v2.1: how well people would like a picture for its text, as the cosine of a CLIP trained on their choices.

Source: Wu et al., "Human Preference Score v2", arXiv:2306.09341, package hpsv2 1.2.0. The checkpoint
(HPS_v2.1_compressed.pt of xswu/HPSv2) is open_clip's ViT-H-14; it is turned in memory into transformers' CLIPModel,
whose architecture and tokenizer come from laion/CLIP-ViT-H-14-laion2B-s32B-b79K. Scores lie about .25 to .35.

Pictures and texts are prepared as the package does it with torchvision 0.17 or later, which antialiases; earlier ones
did not. Two deviations: the network runs in fp32 also on CUDA, where the package uses fp16 autocast, and a picture
whose longer side needs no resizing is padded to a square, where the package fails.
"""

from functools import partial
from pathlib import Path

import torch
from torch.nn import functional

from g2rpo.rewards.clip import ClipReward, Pixels, build_network, clip_config, load_tokenizer, read_state
from g2rpo.rewards.hps_isolated import load_hps_isolated
from g2rpo.rewards.open_clip_format import MEAN, STD, clean_text, from_open_clip
from g2rpo.rewards.pictures import to_uint8
from g2rpo.rewards.protocol import Reward
from g2rpo.types import Images


def load_hps_by_backend(
    name: str, *, backend: str, weights: Path, clip: Path | None, folder: str | None, device: str | torch.device
) -> Reward:
    """Return HPS v2.1 by the settings of its record: in this process, or by the package hpsv2 in one of its own.

    Raises:
        ValueError: As `load_hps` and `load_hps_isolated`.
    """
    if clip is not None:
        return load_hps(name, weights=weights, clip=clip, device=device)
    assert folder is not None, f"The parameters refuse a backend {backend} without its folder."
    return load_hps_isolated(name, weights=weights, folder=Path(folder), device=device)


def load_hps(name: str, *, weights: Path, clip: Path, device: str | torch.device) -> Reward:
    """Return HPS v2.1 in this process; it scores by the cosine of picture and text, about .25 to .35.

    Args:
        weights: The official checkpoint, a torch file with open_clip's names under `state_dict`.
        clip: Folder with the config.json and the tokenizer of the CLIP that was trained further.

    Raises:
        ValueError: If a file is missing, the architecture is another, or a name or shape does not fit.
    """
    config = clip_config(clip)
    for tower in (config.text_config, config.vision_config):
        if (tower.hidden_act, tower.layer_norm_eps) != ("gelu", 1e-5):
            raise ValueError(
                "A CLIP with hidden_act gelu and layer_norm_eps 1e-05 is required by HPS, got "
                f"{tower.hidden_act} and {tower.layer_norm_eps} in {clip / 'config.json'}. Set `clip` of the reward to "
                "laion/CLIP-ViT-H-14-laion2B-s32B-b79K."
            )
    state = from_open_clip(read_state(weights), source="HPS_v2.1_compressed.pt of xswu/HPSv2")
    network = build_network(config, state, device)
    preprocess = partial(hps_pixels, side=config.vision_config.image_size)
    return ClipReward(name, network, load_tokenizer(clip, network), preprocess=preprocess, clean=clean_text)


def hps_pixels(images: Images, *, side: int) -> Pixels:
    """Return pictures as the package shows them to the network: longer side resized, padded with black, normalised.

    Example: at side 224, 100x200 becomes 112x224 with 56 black rows above and 56 below.
    """
    pictures = to_uint8(images).permute(0, 3, 1, 2).contiguous().float() / 255
    height, width = pictures.shape[2:]
    scale = side / max(height, width)
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    if scale != 1:
        pictures = functional.interpolate(pictures, (height, width), mode="bicubic", antialias=True)
    top, left = (side - height) // 2, (side - width) // 2
    pictures = functional.pad(pictures, (left, side - width - left, top, side - height - top))
    return (pictures - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
