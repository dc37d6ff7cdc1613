"""Aesthetic score: how beautiful people would find a picture, whatever its text, on a scale of 1 to 10.

Source: LAION's improved aesthetic predictor (christophschuhmann/improved-aesthetic-predictor,
sac+logos+ava1-l14-linearMSE.pth): five linear layers without activations over the normalised picture features of
OpenAI's CLIP ViT-L/14 (openai/clip-vit-large-patch14). Most pictures score 4 to 7. The network runs in fp32 also on
CUDA, where the original runs CLIP in fp16.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPModel

from g2rpo.rewards.clip import Pixels, Preprocess, load_network, load_preprocess, read_state
from g2rpo.rewards.pictures import check_counts
from g2rpo.rewards.protocol import Reward
from g2rpo.types import Images, Rewards


class AestheticNetwork(nn.Module):
    """The picture tower of a CLIP and the five layers over it, under their official names `layers.0` to `layers.7`."""

    def __init__(self, clip: CLIPModel) -> None:
        super().__init__()
        self.vision_model, self.visual_projection = clip.vision_model, clip.visual_projection
        self.layers = nn.Sequential(
            nn.Linear(clip.visual_projection.out_features, 1024),
            nn.Dropout(0.2),  # dropouts do nothing in use: they hold their places in the official numbering
            nn.Linear(1024, 128),
            nn.Dropout(0.2),
            nn.Linear(128, 64),
            nn.Dropout(0.1),
            nn.Linear(64, 16),
            nn.Linear(16, 1),
        )

    def forward(self, pixels: Pixels) -> Rewards:
        """Return one score per picture, from its preprocessed pixels."""
        features = self.visual_projection(self.vision_model(pixels).pooler_output)
        return self.layers(functional.normalize(features, dim=1))[:, 0]

    def load_layers(self, state: dict[str, Tensor]) -> None:
        """Load the weights of the five layers.

        Raises:
            ValueError: If a name or a shape differs from the official one.
        """
        required = {f"layers.{name}": tuple(value.shape) for name, value in self.layers.state_dict().items()}
        got = {name: tuple(value.shape) for name, value in state.items()}
        if got != required:
            wrong = sorted(name for name in required.keys() | got.keys() if required.get(name) != got.get(name))
            raise ValueError(
                "An aesthetic predictor with the official layers is required, got "
                + ", ".join(f"{name} {got.get(name, 'missing')} for {required.get(name, 'none')}" for name in wrong[:3])
                + f" ({len(wrong)} wrong). Set `weights` and `clip` of the reward to a predictor and the CLIP under it."
            )
        self.layers.load_state_dict({name.removeprefix("layers."): value for name, value in state.items()})


class AestheticReward:
    """The aesthetic score of a picture; its text is not read."""

    def __init__(self, name: str, network: AestheticNetwork, preprocess: Preprocess) -> None:
        self.name = name
        self.module = self._network = network
        self._preprocess = preprocess

    def score(self, images: Images, texts: Sequence[str]) -> Rewards:
        """Return one score per picture, about 1 to 10.

        Raises:
            ValueError: If there are not as many texts as pictures.
        """
        check_counts(self.name, images, texts)
        device = next(self._network.parameters()).device
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            return self._network(self._preprocess(images).to(device)).to(images.device)


def load_aesthetic(name: str, *, weights: Path, clip: Path, device: str | torch.device) -> Reward:
    """Return LAION's improved aesthetic predictor.

    Args:
        weights: The predictor's five layers, a torch or a safetensors file with the official names.
        clip: Folder in transformers' format of the CLIP under it, with preprocessor_config.json.

    Raises:
        ValueError: If a file is missing, or a name or shape does not fit.
    """
    tower = load_network(clip, "cpu")
    preprocess = load_preprocess(clip, tower)
    network = AestheticNetwork(tower)
    network.load_layers(read_state(weights))
    return AestheticReward(name, network.requires_grad_(False).eval().to(device), preprocess)
