"""What the method requires of a text-to-image flow model; one file here adapts one model family to it.

A base model comes in two halves: the text encoders, which are needed once, and the policy, which stays.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from g2rpo.policies.compute import Compute
from g2rpo.types import Images, Index, Latents, Levels


@dataclass(frozen=True)
class Condition:
    """What a model gets for each row of a batch: named tensors that share their first axis.

    Example: `Condition({"prompt_embeds": (2, 8, 48), "pooled_prompt_embeds": (2, 48)})` for two prompts of the
    shapes world.
    """

    tensors: Mapping[str, Tensor]
    shared: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    """Tensors that all rows share, first axis 1: the negative prompt of classifier-free guidance."""

    def take(self, rows: Index) -> "Condition":
        """Return the condition of the given rows, in that order; a row may be taken more than once."""
        return Condition({name: tensor[rows] for name, tensor in self.tensors.items()}, self.shared)


@dataclass(frozen=True)
class EncoderView:
    """What one encoder sees. Example: encoder "tokenizer", max_tokens 77, tokens ((0, 5, 1), (0, 7, 1)), num_cut 0."""

    encoder: str
    """The folder of its tokenizer."""
    max_tokens: int
    tokens: tuple[tuple[int, ...], ...]
    """The tokens that it sees of each text; of a text that it cuts, without the token that ends it."""
    num_cut: int
    """Texts that are longer."""


@runtime_checkable
class TextEncoder(Protocol):
    """The text encoders of a model: needed once for each text, then freed."""

    def encode(self, texts: Sequence[str]) -> Condition:
        """Return one row of condition for each prompt text. Never trained, computed without gradient.

        Raises:
            ValueError: If the model cannot read a text.
        """
        ...


@runtime_checkable
class Policy(Protocol):
    """A flow-matching text-to-image model: the velocity field that is aligned, and its way to pictures.

    Velocities point from data to noise (`noise - data`), and sigma runs from 1 (noise) to 0 (data).
    """

    @property
    def module(self) -> torch.nn.Module:
        """The network whose parameters with `requires_grad` are trained."""
        ...

    @property
    def decoder(self) -> torch.nn.Module | None:
        """The network that `decode` needs, so that it can be moved; None where there is none."""
        ...

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """The shape of one latent, without the batch axis."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the network lies; latents, levels and conditions are expected there."""
        ...

    @property
    def num_forwards(self) -> int:
        """Rows that one velocity sends through the network: 2 with classifier-free guidance, else 1."""
        ...

    @property
    def adapted(self) -> bool:
        """Whether only an adapter is trained, so that the base model is this one with the adapter switched off."""
        ...

    def without_adapter(self) -> AbstractContextManager[None]:
        """Switch the adapter off for a while: the velocity is then the base model's."""
        ...

    def velocity(self, latents: Latents, sigma: Levels, condition: Condition) -> Latents:
        """Return the velocity at each row's own noise level, in fp32, with gradient where grad mode is on."""
        ...

    def decode(self, latents: Latents) -> Images:
        """Return pictures in [0, 1] from clean latents (sigma = 0), in fp32, without gradient."""
        ...

    def save(self, folder: Path) -> None:
        """Write the whole model in the format of its family, from which it can be loaded as a base.

        An adapter is merged into the weights.
        """
        ...

    def save_adapter(self, folder: Path) -> None:
        """Write the adapter alone, in the format in which diffusers loads it.

        Raises:
            ValueError: If there is none.
        """
        ...


@runtime_checkable
class Pretrained(Protocol):
    """The files of a base model, and the settings of its family."""

    @property
    def negative_text(self) -> str | None:
        """The text whose condition all rows share; None where there is no classifier-free guidance."""
        ...

    @property
    def encoder_settings(self) -> Mapping[str, Any]:
        """Settings that change an embedding, beside files, dtype and device; plain values."""
        ...

    @property
    def shift(self) -> float:
        """The shift of the schedule that the model is published with, at the size of the pictures."""
        ...

    def encoder_views(self, texts: Sequence[str]) -> Sequence[EncoderView]:
        """Return what each text encoder sees of texts; none if it cuts no text."""
        ...

    def load_encoder(self, compute: Compute) -> TextEncoder:
        """Return the text encoders."""
        ...

    def load_policy(self, compute: Compute, *, seed: int) -> Policy:
        """Return the policy; `seed` decides the initial weights of an adapter."""
        ...
