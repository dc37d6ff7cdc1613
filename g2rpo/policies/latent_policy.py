"""What the latent models of diffusers have in common: a transformer, an autoencoder, an adapter, a pipeline folder."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL

from g2rpo.policies.adapter import Lora, add_lora, merged, save_lora, switched_off
from g2rpo.policies.autoencoder import Autoencoder
from g2rpo.policies.compute import Compute
from g2rpo.policies.pipeline_folder import copy_all_but_transformer
from g2rpo.quiet import quietly


@dataclass(frozen=True)
class Parts:
    """The networks of a pipeline that stay, as they come from its folder, and what is trained of them.

    Example: `Parts(folder, FluxPipeline, FluxTransformer2DModel(...), AutoencoderKL(...), lora=None)`.
    """

    folder: Path
    pipeline: Any
    """The class of diffusers that reads and writes the folder."""
    transformer: Any
    vae: AutoencoderKL
    lora: Lora | None

    @classmethod
    def load(cls, folder: Path, pipeline: Any, transformer: Any, lora: Lora | None, compute: Compute) -> "Parts":
        """Read the networks: what is frozen in the compute dtype, what is trained in fp32.

        Args:
            transformer: The class of the transformer.
        """
        trained = compute.dtype if lora else torch.float32
        with quietly():
            network = transformer.from_pretrained(folder / "transformer", dtype=trained, use_safetensors=True)
            vae = AutoencoderKL.from_pretrained(folder / "vae", dtype=compute.dtype, use_safetensors=True)
        return cls(folder, pipeline, network, vae, lora)


class LatentPolicy:
    """The half of a policy that is the same whatever the transformer; a family adds shapes, velocity and decode."""

    def __init__(self, parts: Parts, compute: Compute, *, seed: int) -> None:
        if parts.lora:
            add_lora(parts.transformer, parts.lora, seed=seed)
        torch.nn.Module.to(parts.transformer, compute.device)
        torch.nn.Module.to(parts.vae, compute.device)
        self._parts = parts
        self._transformer = parts.transformer.eval()
        self._autoencoder = Autoencoder(parts.vae, compute.decode_batch)
        compute.prepare(self._transformer)

    @property
    def module(self) -> torch.nn.Module:
        """The transformer."""
        return self._transformer

    @property
    def decoder(self) -> torch.nn.Module:
        """The autoencoder."""
        return self._autoencoder.module

    @property
    def device(self) -> torch.device:
        """Where the transformer lies."""
        return self._transformer.device

    @property
    def adapted(self) -> bool:
        """Whether a LoRA is trained."""
        return self._parts.lora is not None

    def without_adapter(self) -> AbstractContextManager[None]:
        """Switch the LoRA off for a while."""
        return switched_off(self._transformer) if self.adapted else nullcontext()

    def save(self, folder: Path) -> None:
        """Write a pipeline of the family: the transformer as it is now, all else as it came."""
        copy_all_but_transformer(self._parts.folder, folder)
        (merged(self._transformer) if self.adapted else self._transformer).save_pretrained(folder / "transformer")

    def save_adapter(self, folder: Path) -> None:
        """Write the LoRA as `load_lora_weights` of the family's pipeline reads it.

        Raises:
            ValueError: If all weights are trained.
        """
        if not self.adapted:
            raise ValueError("A LoRA is required, got a policy whose weights are all trained. Export the pipeline.")
        save_lora(self._parts.pipeline, self._transformer, folder)
