"""CLIP score: how well a picture fits its text, as the cosine of DFN5B-CLIP-ViT-H-14.

Source: Fang et al., "Data Filtering Networks", arXiv:2309.17425, the model of apple/DFN5B-CLIP-ViT-H-14; the paper of
Granular-GRPO (arXiv:2510.01982) gives .388 for FLUX.1-dev. The model is published for open_clip, and its config has
the activation (quick_gelu for these weights) and whether a picture that is not square is squashed or cropped to its
middle; for square pictures the two are the same. Scores are those of the package open_clip_torch in fp32, but for a
text that itself holds a mark of start or end.
"""

from pathlib import Path

import torch

from g2rpo.rewards.clip import (
    ClipReward,
    build_network,
    load_network,
    load_preprocess,
    load_tokenizer,
    read_state,
)
from g2rpo.rewards.open_clip_config import open_clip_weights, read_open_clip
from g2rpo.rewards.open_clip_format import from_open_clip
from g2rpo.rewards.protocol import Reward


def load_clip_score(name: str, *, weights: Path, device: str | torch.device) -> Reward:
    """Return the cosine of picture and text under the CLIP of a folder, in [-1, 1]; about .3 to .45 for true pairs.

    A folder with open_clip_config.json and weights of open_clip is read as such, even if it has transformers' files
    besides: those are a conversion, with a preprocessing of their own. Any other folder is read by transformers.

    Args:
        weights: Folder with a tokenizer (tokenizer.json, or vocab.json and merges.txt), and either
            open_clip_config.json and open_clip_model.safetensors or open_clip_pytorch_model.bin, or, in transformers'
            format, config.json, weights and preprocessor_config.json.

    Raises:
        ValueError: If a file is missing, the network is not a plain CLIP, or a name or shape does not fit.
    """
    file = open_clip_weights(weights)
    if file is None:
        network = load_network(weights, device)
        return ClipReward(name, network, load_tokenizer(weights, network), preprocess=load_preprocess(weights, network))
    model = read_open_clip(weights)
    network = build_network(model.config, from_open_clip(read_state(file)), device)
    tokenizer = load_tokenizer(weights, network)
    return ClipReward(name, network, tokenizer, preprocess=model.preprocess, clean=model.clean)
