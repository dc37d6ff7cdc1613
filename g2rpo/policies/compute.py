"""Where and how the networks of a policy compute."""

from dataclasses import dataclass
from typing import Any, Literal

import torch

from g2rpo.quiet import without_notices


@dataclass(frozen=True)
class Compute:
    """Where and how a model is held and computed. It changes no law, only the last bits, speed and memory.

    Quantised weights change more: they are then the base model, for the policy and for the KL.

    Example: `Compute(torch.device("cuda"), torch.bfloat16, decode_batch=8, gradient_checkpointing=True,
    attention="native", compile=False, quantise=None)`.
    """

    device: torch.device
    dtype: torch.dtype
    """Dtype of the computation, and of frozen weights unless they are quantised; trained weights are fp32."""
    decode_batch: int
    """Latents per call of the autoencoder."""
    gradient_checkpointing: bool
    """Whether a block's activations are computed again in the backward pass in place of being kept."""
    attention: str
    """Name of an attention backend of diffusers, as `native` or `flash`."""
    compile: bool
    """Whether `torch.compile` compiles the transformer's repeated blocks."""
    quantise: Literal["int8"] | None
    """Format of frozen weights, if an adapter is trained; None holds them in `dtype`."""
    trained: bool = True
    """Whether this copy of the network is trained; one that only samples holds all its weights in `dtype`."""

    def prepare(self, transformer: Any) -> None:
        """Set attention, checkpointing and compilation of a transformer of diffusers.

        Raises:
            ValueError: If diffusers has no such attention backend here, or the transformer supports none.
        """
        try:
            with without_notices():
                transformer.set_attention_backend(self.attention)  # native too: diffusers keeps the last for all models
        except (ValueError, RuntimeError, ImportError) as error:
            raise ValueError(
                f"resources.attention: an attention backend of diffusers that works here is required, got "
                f"{self.attention}: {error}. Set it to native, or install what the backend needs."
            ) from error
        processors = [getattr(module, "processor", None) for module in transformer.modules()]
        if self.attention != "native" and not any(getattr(p, "_attention_backend", None) for p in processors):
            raise ValueError(
                f"resources.attention: native is required for {type(transformer).__name__}, whose attention has no "
                f"backends in diffusers, got {self.attention}. Set it to native."
            )
        if self.gradient_checkpointing:
            transformer.enable_gradient_checkpointing()
        if self.compile:
            transformer.compile_repeated_blocks(dynamic=True)
