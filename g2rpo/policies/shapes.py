"""The embedded world's model: a FLUX transformer whose latents are the patches of a 16x16 picture."""

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import FluxTransformer2DModel

from g2rpo.policies.protocol import Condition
from g2rpo.shapes.base import (
    CHANNELS,
    NUM_TOKENS,
    BaseModel,
    WordTable,
    flux_velocity,
    load_base,
    save_base,
    to_images,
)
from g2rpo.types import Images, Latents, Levels


class ShapesPolicy:
    """The policy of the shapes world; only the transformer is trained, the word table is frozen.

    Latents are 16 tokens of 48 channels, so nothing needs packing; there is no autoencoder.
    """

    def __init__(self, transformer: FluxTransformer2DModel, words: WordTable) -> None:
        self._transformer = transformer.float()
        self._words = words.float().eval().requires_grad_(False)

    @classmethod
    def load(cls, folder: Path | None = None, *, device: str | torch.device = "cpu") -> "ShapesPolicy":
        """Return the policy of a folder that `save` wrote, in fp32; without a folder, the shipped base model.

        Raises:
            ValueError: If the folder holds no model of the shapes world.
        """
        base = load_base(folder)
        torch.nn.Module.to(base.transformer, device)
        return cls(base.transformer, base.words.to(device))

    def save(self, folder: Path) -> None:
        """Write `transformer/`, in the format of diffusers, and `words.safetensors`, both in fp32."""
        save_base(BaseModel(transformer=self._transformer, words=self._words), folder)

    @property
    def module(self) -> FluxTransformer2DModel:
        """The transformer."""
        return self._transformer

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(16, 48): tokens and channels."""
        return (NUM_TOKENS, CHANNELS)

    @property
    def device(self) -> torch.device:
        """Where the transformer lies."""
        return self._transformer.device

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Condition:
        """Return `encoder_hidden_states` (b, 8, 48) and `pooled_projections` (b, 48), their mean.

        Raises:
            ValueError: If a text has an unknown word, no word or more than eight words.
        """
        words = self._words.read(texts)
        return Condition({"encoder_hidden_states": words, "pooled_projections": words.mean(dim=1)})

    def velocity(self, latents: Latents, sigma: Levels, condition: Condition) -> Latents:
        """Return `noise - data` at each row's own exact sigma, fp32, with gradient where grad mode is on."""
        words, pooled = (condition.tensors[name] for name in ("encoder_hidden_states", "pooled_projections"))
        return flux_velocity(self._transformer, latents, sigma, words, pooled).float()

    @torch.no_grad()
    def decode(self, latents: Latents) -> Images:
        """Return pictures (b, 3, 16, 16) in [0, 1]: the patches joined, mapped from [-1, 1] and clamped."""
        return to_images(latents)
