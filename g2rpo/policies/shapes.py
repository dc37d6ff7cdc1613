"""The embedded world's model: a FLUX transformer whose latents are the patches of a 16x16 picture."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from g2rpo.policies.compute import Compute
from g2rpo.policies.protocol import Condition, EncoderView
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


@dataclass(frozen=True)
class Shapes:
    """The base model of a folder that `ShapesPolicy.save` wrote, or the shipped one."""

    folder: Path

    negative_text = None
    shift = 2.0

    @property
    def encoder_settings(self) -> dict[str, Any]:
        """None."""
        return {}

    def encoder_views(self, texts: Sequence[str]) -> Sequence[EncoderView]:
        """None: it refuses a text that is too long."""
        return ()

    def load_encoder(self, compute: Compute) -> "ShapesEncoder":
        """Return the word table."""
        return ShapesEncoder(load_base(self.folder).words.to(compute.device))

    def load_policy(self, compute: Compute, *, seed: int) -> "ShapesPolicy":
        """Return the policy in fp32.

        Raises:
            ValueError: If the folder holds no model of the shapes world.
        """
        policy = ShapesPolicy.load(self.folder, device=compute.device)
        compute.prepare(policy.module)
        return policy


class ShapesEncoder:
    """The word table of the shapes world, frozen."""

    def __init__(self, words: WordTable) -> None:
        self._words = words.float().eval().requires_grad_(False)

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Condition:
        """Return `prompt_embeds` (b, 8, 48) and `pooled_prompt_embeds` (b, 48), their mean.

        Raises:
            ValueError: If a text has an unknown word, no word or more than eight words.
        """
        words = self._words.read(texts)
        return Condition({"prompt_embeds": words, "pooled_prompt_embeds": words.mean(dim=1)})


class ShapesPolicy(ShapesEncoder):
    """The policy of the shapes world and its encoder, since both are small. All of the transformer is trained.

    Latents are 16 tokens of 48 channels, so nothing needs packing; there is no autoencoder.
    """

    decoder = None
    num_forwards = 1
    adapted = False

    def __init__(self, base: BaseModel) -> None:
        super().__init__(base.words)
        self._transformer = base.transformer.float()

    @classmethod
    def load(cls, folder: Path | None = None, *, device: str | torch.device = "cpu") -> "ShapesPolicy":
        """Return the policy of a folder that `save` wrote, in fp32; without a folder, the shipped base model.

        Raises:
            ValueError: If the folder holds no model of the shapes world.
        """
        base = load_base(folder)
        torch.nn.Module.to(base.transformer, device)
        return cls(BaseModel(transformer=base.transformer, words=base.words.to(device)))

    @property
    def module(self) -> torch.nn.Module:
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

    def without_adapter(self) -> AbstractContextManager[None]:
        """Do nothing: there is no adapter."""
        return nullcontext()

    def velocity(self, latents: Latents, sigma: Levels, condition: Condition) -> Latents:
        """Return `noise - data` at each row's own exact sigma, fp32, with gradient where grad mode is on."""
        words, pooled = (condition.tensors[name] for name in ("prompt_embeds", "pooled_prompt_embeds"))
        return flux_velocity(self._transformer, latents, sigma, words, pooled).float()

    @torch.no_grad()
    def decode(self, latents: Latents) -> Images:
        """Return pictures (b, 3, 16, 16) in [0, 1]: the patches joined, mapped from [-1, 1] and clamped."""
        return to_images(latents)

    def save(self, folder: Path) -> None:
        """Write `transformer/`, in the format of diffusers, and `words.safetensors`, both in fp32."""
        save_base(BaseModel(transformer=self._transformer, words=self._words), folder)

    def save_adapter(self, folder: Path) -> None:
        """Refuse: the transformer of the shapes world is smaller than most adapters.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "A LoRA is written for models too large to train whole; the shapes world's transformer of 1 M parameters "
            "is trained whole and has none. Export the pipeline."
        )
