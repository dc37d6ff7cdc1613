"""Samples from a model of the embedded world of coloured shapes; needs torch, diffusers, safetensors and Pillow alone.

It lies beside the weights in the folder that `g2rpo export` wrote:

    from shapes_pipeline import ShapesPipeline

    (picture,) = ShapesPipeline.from_pretrained(".")("a red circle", num_inference_steps=8, seed=0)
"""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models import FluxTransformer2DModel
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

GRID, PATCH, COLOURS = 4, 4, 3  # a picture is 4x4 patches of 4x4 pixels
TOKENS, CHANNELS = GRID * GRID, COLOURS * PATCH * PATCH


class ShapesPipeline:
    """Captions to pictures of 16x16 pixels, by the ODE of the flow.

    Args:
        words: `words.weight`, a vector for each word, and `places.weight`, one for each place in a caption.
        told: `vocabulary`, `shift` of the schedule, and `num_inference_steps`, the default of the call.
    """

    def __init__(self, transformer: FluxTransformer2DModel, words: dict[str, Tensor], told: dict[str, Any]) -> None:
        self.transformer = transformer.eval()
        self.words, self.places = words["words.weight"].float(), words["places.weight"].float()
        self.numbers = {word: number for number, word in enumerate(told["vocabulary"])}
        self.shift, self.num_inference_steps = told["shift"], told["num_inference_steps"]

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "ShapesPipeline":
        """Return the pipeline of an exported folder, in fp32 on the CPU."""
        folder = Path(folder)
        transformer: Any = FluxTransformer2DModel.from_pretrained(
            folder / "transformer", dtype=torch.float32, low_cpu_mem_usage=False, use_safetensors=True
        )
        settings = json.loads((folder / "shapes_pipeline.json").read_text(encoding="utf-8"))
        return cls(transformer, load_file(folder / "words.safetensors"), settings)

    @torch.no_grad()
    def __call__(
        self, prompt: str | Sequence[str], *, num_inference_steps: int | None = None, seed: int
    ) -> list[Image.Image]:
        """Return a picture for each caption.

        Args:
            num_inference_steps: Steps of the ODE.
            seed: Of the first picture's noise; the next has the next seed.

        Raises:
            ValueError: If a caption has an unknown word, no word, or more words than the model has places.
        """
        captions = [prompt] if isinstance(prompt, str) else list(prompt)
        words = self.words[torch.tensor([self._read(caption) for caption in captions])] + self.places
        latents = torch.stack([_noise(seed + number) for number in range(len(captions))])
        levels = self._levels(num_inference_steps or self.num_inference_steps)
        for sigma, sigma_next in pairwise(levels):
            latents = latents + self._velocity(latents, sigma.expand(len(latents)), words) * (sigma_next - sigma)
        return _pictures(latents)

    def _read(self, caption: str) -> list[int]:
        """Return the numbers of a caption's words, padded with 0 to the number of places."""
        words, places = caption.split(), len(self.places)
        unknown = [word for word in words if word not in self.numbers]
        if unknown or not 1 <= len(words) <= places:
            raise ValueError(
                f"A caption of 1 to {places} of the words {', '.join(filter(None, self.numbers))} is required, "
                f"got {caption!r}. Reword it."
            )
        return [self.numbers[word] for word in words] + [0] * (places - len(words))

    def _levels(self, num_steps: int) -> Tensor:
        """Return the noise levels from 1 to 0: s t / (1 + (s - 1) t) at even t."""
        times = torch.linspace(1, 0, num_steps + 1, dtype=torch.float64)
        return (self.shift * times / (1 + (self.shift - 1) * times)).float()

    def _velocity(self, latents: Tensor, sigma: Tensor, words: Tensor) -> Tensor:
        """Return noise - data as the transformer predicts it; image tokens have their row and column."""
        token = torch.arange(TOKENS)
        return self.transformer(
            hidden_states=latents,
            timestep=sigma,
            encoder_hidden_states=words,
            pooled_projections=words.mean(dim=1),
            img_ids=torch.stack([torch.zeros_like(token), token // GRID, token % GRID], dim=1).float(),
            txt_ids=torch.zeros(len(self.places), 3),
            return_dict=False,
        )[0]


def _noise(seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((TOKENS, CHANNELS), dtype=np.float32))


def _pictures(latents: Tensor) -> list[Image.Image]:
    """Return patches joined, mapped from [-1, 1] to bytes."""
    patches = latents.reshape(-1, GRID, GRID, COLOURS, PATCH, PATCH)
    pixels = patches.permute(0, 1, 4, 2, 5, 3).reshape(-1, GRID * PATCH, GRID * PATCH, COLOURS)
    levels = (((pixels + 1) / 2).clamp(0, 1) * 255).round().to(torch.uint8)
    return [Image.fromarray(picture) for picture in levels.numpy()]
