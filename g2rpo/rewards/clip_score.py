"""CLIP score: how well a picture fits its text, as the cosine of DFN5B-CLIP-ViT-H-14.

Source: Fang et al., "Data Filtering Networks", arXiv:2309.17425, the model of apple/DFN5B-CLIP-ViT-H-14; the paper of
Granular-GRPO (arXiv:2510.01982) gives .388 for FLUX.1-dev. config.json decides the activation (quick_gelu for these
weights) and preprocessor_config.json the preprocessing. open_clip squashes a picture that is not square, where
transformers crops its middle: for square pictures the two are the same.
"""

from pathlib import Path

import torch

from g2rpo.rewards.clip import ClipReward, load_network, load_preprocess, load_tokenizer
from g2rpo.rewards.protocol import Reward


def load_clip_score(name: str, *, weights: Path, device: str | torch.device) -> Reward:
    """Return the cosine of picture and text under the CLIP of a folder, in [-1, 1]; about .3 to .45 for true pairs.

    Args:
        weights: Folder in transformers' format with config.json, weights, tokenizer and preprocessor_config.json.

    Raises:
        ValueError: If a file is missing, or a name or shape does not fit.
    """
    network = load_network(weights, device)
    return ClipReward(name, network, load_tokenizer(weights, network), preprocess=load_preprocess(weights, network))
