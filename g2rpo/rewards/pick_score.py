"""PickScore v1: which picture people would pick for a text, as the logit of a CLIP trained on their picks.

Source: Kirstain et al., "Pick-a-Pic", arXiv:2305.01569, the model of yuvalkirstain/PickScore_v1, with the preprocessing
and the tokenizer of laion/CLIP-ViT-H-14-laion2B-s32B-b79K. The official score, about 19 to 24, is

    score = exp(logit_scale) cos(picture, text),    exp(logit_scale) = 100 in the published weights.

The paper of Granular-GRPO (arXiv:2510.01982) divides it by 100, and so gives the cosine: its .226 is 22.6 here.
"""

from pathlib import Path

import torch

from g2rpo.rewards.clip import ClipReward, load_network, load_preprocess, load_tokenizer
from g2rpo.rewards.protocol import Reward


def load_pick_score(name: str, *, weights: Path, processor: Path, device: str | torch.device) -> Reward:
    """Return PickScore in its official unit, the logit: about 22, and 100 times the cosine.

    Args:
        weights: Folder in transformers' format with config.json and weights.
        processor: Folder with the tokenizer and preprocessor_config.json.

    Raises:
        ValueError: If a file is missing, or a name or shape does not fit.
    """
    network = load_network(weights, device)
    scale = network.logit_scale.exp().item()
    tokenizer, preprocess = load_tokenizer(processor, network), load_preprocess(processor, network)
    return ClipReward(name, network, tokenizer, preprocess=preprocess, scale=scale)
