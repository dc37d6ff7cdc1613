"""FLUX.1 (dev and schnell) by Black Forest Labs, on the classes of diffusers.

Latents are packed as the transformer sees them: 2x2 patches of the autoencoder's 16 channels, one token each. The
dev model has its guidance distilled and takes the scale as an input; schnell has no guidance.

In bfloat16 the pipeline of diffusers rounds sigma to 8 bits and guidance 3.5 to 3.504; here both stay exact, so that
a policy means the same in every dtype.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakMethod

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.models import AutoencoderKL, FluxTransformer2DModel
from diffusers.pipelines import FluxPipeline
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5Tokenizer

from g2rpo.policies.adapter import Lora
from g2rpo.policies.compute import Compute
from g2rpo.policies.encoder_views import encoder_views
from g2rpo.policies.latent_policy import LatentPolicy, Parts, check_targets, read_encoders
from g2rpo.policies.pipeline_folder import component_config, component_number, require_pipeline
from g2rpo.policies.protocol import Condition, EncoderView
from g2rpo.quiet import without_warnings
from g2rpo.types import Images, Latents, Levels

_COMPONENTS: dict[str, type] = {
    "transformer": FluxTransformer2DModel,
    "vae": AutoencoderKL,
    "scheduler": FlowMatchEulerDiscreteScheduler,
    "text_encoder": CLIPTextModel,
    "tokenizer": CLIPTokenizer,
    "text_encoder_2": T5EncoderModel,
    "tokenizer_2": T5Tokenizer,
}
_PATCH = 2  # latent pixels
_STRIDE = 8  # pixels per latent pixel
_QUERY_AND_KEY_NORMS = ("norm_q", "norm_k", "norm_added_q", "norm_added_k")
_SCHNELL_TOKENS = 256


@dataclass(frozen=True)
class Flux1:
    """A FluxPipeline in a folder.

    Raises:
        ValueError: If the folder holds none, or it does not fit the settings.
    """

    folder: Path
    height: int
    """Pixels, a multiple of 16."""
    width: int
    """Pixels, a multiple of 16."""
    guidance: float | None
    """Guidance scale of the dev model, 3.5 in the paper; None for schnell."""
    max_sequence_length: int
    """Tokens of the T5 encoder: 512 for dev, at most 256 for schnell."""
    lora: Lora | None
    """The adapter that is trained; None trains all weights."""

    negative_text = None

    def __post_init__(self) -> None:
        """Refuse settings that do not fit the model, before anything is loaded."""
        require_pipeline(self.folder, "FluxPipeline", _COMPONENTS)
        guided = component_config(self.folder, "transformer").get("guidance_embeds", False)
        if guided != (self.guidance is not None):
            required = "a scale such as 3.5" if guided else "null"
            raise ValueError(
                f"policy.guidance: {required} is required for this model, whose transformer takes "
                f"{'a' if guided else 'no'} guidance scale; got {'null' if guided else self.guidance}. Change it."
            )
        if not guided and self.max_sequence_length > _SCHNELL_TOKENS:
            raise ValueError(
                f"policy.max_sequence_length: at most {_SCHNELL_TOKENS} tokens are required for schnell, got "
                f"{self.max_sequence_length}. Lower it."
            )
        check_targets(self.folder, FluxTransformer2DModel, self.lora)

    @property
    def encoder_settings(self) -> dict[str, Any]:
        """The number of T5's tokens."""
        return {"max_sequence_length": self.max_sequence_length}

    @property
    def shift(self) -> float:
        """exp(mu) with mu linear in the number of tokens; the scheduler's own if that is fixed: 1 for schnell."""
        number = partial(component_number, self.folder, "scheduler")
        if not component_config(self.folder, "scheduler").get("use_dynamic_shifting"):
            return number("shift")
        low, high, base = number("base_image_seq_len"), number("max_image_seq_len"), number("base_shift")
        if high <= low:
            raise ValueError(
                f"policy.path: max_image_seq_len above base_image_seq_len is required in the scheduler of {self.folder}"
                f", got {high:g} and {low:g}. Download it again."
            )
        return math.exp(base + (number("max_shift") - base) / (high - low) * (self.num_tokens - low))

    @property
    def num_tokens(self) -> int:
        """Image tokens: 2025 at 720 x 720."""
        return (self.height // (_PATCH * _STRIDE)) * (self.width // (_PATCH * _STRIDE))

    def encoder_views(self, texts: Sequence[str]) -> tuple[EncoderView, ...]:
        """What CLIP and T5 see of texts."""
        return encoder_views(self.folder, {"tokenizer": None, "tokenizer_2": self.max_sequence_length}, texts)

    def load_encoder(self, compute: Compute) -> "Flux1Encoder":
        """Return CLIP and T5, in the compute dtype."""
        pipeline = read_encoders(self.folder, FluxPipeline, _COMPONENTS, compute.dtype)
        return Flux1Encoder(pipeline.to(compute.device), self.max_sequence_length)

    def load_policy(self, compute: Compute, *, seed: int) -> "Flux1Policy":
        """Return transformer and autoencoder."""
        parts = Parts.load(self.folder, FluxPipeline, FluxTransformer2DModel, self.lora, compute)
        return Flux1Policy(parts, self, compute, seed=seed)


class Flux1Encoder:
    """CLIP's pooled embedding and T5's token embeddings, by the pipeline's own code."""

    def __init__(self, pipeline: Any, max_sequence_length: int) -> None:
        self._pipeline = pipeline
        self._max_sequence_length = max_sequence_length

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Condition:
        """Return `prompt_embeds` (b, tokens, 4096) and `pooled_prompt_embeds` (b, 768); longer texts are cut."""
        with without_warnings():
            embeds, pooled, _ = self._pipeline.encode_prompt(
                prompt=list(texts), prompt_2=None, max_sequence_length=self._max_sequence_length
            )
        return Condition({"prompt_embeds": embeds, "pooled_prompt_embeds": pooled})


class Flux1Policy(LatentPolicy):
    """The transformer of FLUX.1 and its autoencoder."""

    num_forwards = 1

    def __init__(self, parts: Parts, of: Flux1, compute: Compute, *, seed: int) -> None:
        super().__init__(parts, compute, seed=seed)
        self._base = of
        self._rows, self._columns = of.height // (_PATCH * _STRIDE), of.width // (_PATCH * _STRIDE)
        self._scales: tuple[Tensor, ...] = ()
        exact = WeakMethod(self._exact_scales)  # a strong reference makes a cycle, kept until garbage collection
        self._transformer.time_text_embed.register_forward_pre_hook(lambda _, inputs: _called(exact, inputs))
        for name, module in self._transformer.named_modules():
            if name.rsplit(".", 1)[-1] in _QUERY_AND_KEY_NORMS:
                module.register_forward_hook(_in_input_dtype)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(tokens, channels): (2025, 64) at 720 x 720."""
        return (self._base.num_tokens, self._autoencoder.channels * _PATCH**2)

    def velocity(self, latents: Latents, sigma: Levels, condition: Condition) -> Latents:
        """Return `noise - data` at each row's own exact sigma, fp32."""
        embeds = condition.tensors["prompt_embeds"]
        guidance = None if self._base.guidance is None else torch.full_like(sigma, self._base.guidance)
        self._scales = tuple(1000 * scale for scale in (sigma, guidance) if scale is not None)
        return self._transformer(
            hidden_states=latents,
            timestep=sigma,
            guidance=guidance,
            pooled_projections=condition.tensors["pooled_prompt_embeds"],
            encoder_hidden_states=embeds,
            txt_ids=torch.zeros(embeds.shape[1], 3, device=latents.device),
            img_ids=self._places(latents.device),
            return_dict=False,
        )[0].float()

    def decode(self, latents: Latents) -> Images:
        """Return pictures (b, 3, height, width) in [0, 1]."""
        return self._autoencoder.decode(self._unpacked(latents))

    def _exact_scales(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Pass the time embedding the exact sigma and guidance, which the transformer has rounded to its dtype."""
        return (*self._scales, inputs[-1])

    def _places(self, device: torch.device) -> Tensor:
        """Return (0, row, column) of each image token; text tokens have (0, 0, 0)."""
        rows = torch.arange(self._rows, device=device).repeat_interleave(self._columns)
        columns = torch.arange(self._columns, device=device).repeat(self._rows)
        return torch.stack([torch.zeros_like(rows), rows, columns], dim=1).float()

    def _unpacked(self, latents: Latents) -> Tensor:
        """Return (b, channels, height / 8, width / 8)."""
        split = latents.unflatten(1, (self._rows, self._columns)).unflatten(3, (-1, _PATCH, _PATCH))
        return split.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def _called(method: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the result of a weakly referenced method."""
    return method()(inputs)


def _in_input_dtype(module: torch.nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
    """Return a norm's result in the dtype of its input: CUDA's autocast makes it fp32, which flash kernels refuse."""
    return out.to(inputs[0].dtype)
