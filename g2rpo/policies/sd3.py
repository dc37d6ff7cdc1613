"""Stable Diffusion 3 and 3.5 by Stability AI, on the classes of diffusers.

With classifier-free guidance (guidance above 1) the prompt and the negative prompt go through the network in one
batch, and a velocity costs two rows: v = v_negative + guidance (v_prompt - v_negative).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.models import AutoencoderKL, SD3Transformer2DModel
from diffusers.pipelines import StableDiffusion3Pipeline
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel, T5Tokenizer

from g2rpo.policies.adapter import Lora
from g2rpo.policies.compute import Compute
from g2rpo.policies.encoder_views import encoder_views
from g2rpo.policies.families import is_guided
from g2rpo.policies.latent_policy import LatentPolicy, Parts, check_targets, read_encoders
from g2rpo.policies.pipeline_folder import component_number, require_pipeline
from g2rpo.policies.protocol import Condition, EncoderView
from g2rpo.quiet import without_warnings
from g2rpo.types import Images, Latents, Levels

_COMPONENTS: dict[str, type] = {
    "transformer": SD3Transformer2DModel,
    "vae": AutoencoderKL,
    "scheduler": FlowMatchEulerDiscreteScheduler,
    "text_encoder": CLIPTextModelWithProjection,
    "tokenizer": CLIPTokenizer,
    "text_encoder_2": CLIPTextModelWithProjection,
    "tokenizer_2": CLIPTokenizer,
    "text_encoder_3": T5EncoderModel,
    "tokenizer_3": T5Tokenizer,
}
_PATCH = 2  # latent pixels
_STRIDE = 8  # pixels per latent pixel


@dataclass(frozen=True)
class StableDiffusion3:
    """A StableDiffusion3Pipeline in a folder.

    Raises:
        ValueError: If the folder holds none, or it does not fit the settings.
    """

    folder: Path
    height: int
    """Pixels, a multiple of 16."""
    width: int
    """Pixels, a multiple of 16."""
    guidance: float
    """Scale of the classifier-free guidance, at least 1; at 1 there is none."""
    negative_prompt: str
    """What guidance leads away from; the empty text as published."""
    max_sequence_length: int
    """Tokens of the T5 encoder, 256 as published."""
    lora: Lora | None
    """The adapter that is trained; None trains all weights."""

    def __post_init__(self) -> None:
        """Refuse settings that do not fit the model, before anything is loaded."""
        require_pipeline(self.folder, "StableDiffusion3Pipeline", _COMPONENTS)
        largest = int(component_number(self.folder, "transformer", "pos_embed_max_size")) * _PATCH * _STRIDE
        if max(self.height, self.width) > largest:
            raise ValueError(
                f"policy.height and policy.width: at most {largest} pixels are required for this model, got "
                f"{self.height} x {self.width}. Lower them."
            )
        check_targets(self.folder, SD3Transformer2DModel, self.lora)

    @property
    def encoder_settings(self) -> dict[str, Any]:
        """The number of T5's tokens."""
        return {"max_sequence_length": self.max_sequence_length}

    @property
    def negative_text(self) -> str | None:
        """The negative prompt, if guidance needs it."""
        return self.negative_prompt if is_guided(self.guidance) else None

    @property
    def shift(self) -> float:
        """The scheduler's: 3.0 as published."""
        return component_number(self.folder, "scheduler", "shift")

    def encoder_views(self, texts: Sequence[str]) -> tuple[EncoderView, ...]:
        """What the two CLIP encoders and T5 see of texts."""
        lengths = {"tokenizer": None, "tokenizer_2": None, "tokenizer_3": self.max_sequence_length}
        return encoder_views(self.folder, lengths, texts)

    def load_encoder(self, compute: Compute) -> "StableDiffusion3Encoder":
        """Return the two CLIP encoders and T5, in the compute dtype."""
        pipeline = read_encoders(self.folder, StableDiffusion3Pipeline, _COMPONENTS, compute.dtype)
        return StableDiffusion3Encoder(pipeline.to(compute.device), self.max_sequence_length)

    def load_policy(self, compute: Compute, *, seed: int) -> "StableDiffusion3Policy":
        """Return transformer and autoencoder."""
        parts = Parts.load(self.folder, StableDiffusion3Pipeline, SD3Transformer2DModel, self.lora, compute)
        return StableDiffusion3Policy(parts, self, compute, seed=seed)


class StableDiffusion3Encoder:
    """The three encoders' embeddings, joined by the pipeline's own code."""

    def __init__(self, pipeline: Any, max_sequence_length: int) -> None:
        self._pipeline = pipeline
        self._max_sequence_length = max_sequence_length

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Condition:
        """Return `prompt_embeds` (b, 77 + tokens, 4096) and `pooled_prompt_embeds` (b, 2048); longer texts are cut."""
        with without_warnings():
            embeds, _, pooled, _ = self._pipeline.encode_prompt(
                prompt=list(texts),
                prompt_2=None,
                prompt_3=None,
                do_classifier_free_guidance=False,
                max_sequence_length=self._max_sequence_length,
            )
        return Condition({"prompt_embeds": embeds, "pooled_prompt_embeds": pooled})


class StableDiffusion3Policy(LatentPolicy):
    """The transformer of Stable Diffusion 3 and its autoencoder."""

    def __init__(self, parts: Parts, of: StableDiffusion3, compute: Compute, *, seed: int) -> None:
        super().__init__(parts, compute, seed=seed)
        self._base = of

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(channels, height / 8, width / 8): (16, 128, 128) at 1024 x 1024."""
        return (self._autoencoder.channels, self._base.height // _STRIDE, self._base.width // _STRIDE)

    @property
    def num_forwards(self) -> int:
        """2 with guidance, else 1."""
        return 2 if self._base.negative_text is not None else 1

    def velocity(self, latents: Latents, sigma: Levels, condition: Condition) -> Latents:
        """Return `noise - data` at each row's own exact sigma, guided, fp32."""
        if self._base.negative_text is None:
            return self._forward(latents, sigma, condition)
        rows = len(latents)
        both = {
            name: torch.cat([condition.shared[name].expand_as(tensor), tensor])
            for name, tensor in condition.tensors.items()
        }
        negative, prompt = self._forward(latents.repeat(2, 1, 1, 1), sigma.repeat(2), Condition(both)).split(rows)
        return negative + self._base.guidance * (prompt - negative)

    def decode(self, latents: Latents) -> Images:
        """Return pictures (b, 3, height, width) in [0, 1]."""
        return self._autoencoder.decode(latents)

    def _forward(self, latents: Latents, sigma: Levels, condition: Condition) -> Latents:
        return self._transformer(
            hidden_states=latents,
            timestep=sigma * 1000,
            encoder_hidden_states=condition.tensors["prompt_embeds"],
            pooled_projections=condition.tensors["pooled_prompt_embeds"],
            return_dict=False,
        )[0].float()
