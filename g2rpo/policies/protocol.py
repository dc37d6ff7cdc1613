"""What the method asks of a text-to-image flow model; one file here adapts one model family to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from g2rpo.types import Images, Index, Latents, Levels


@dataclass(frozen=True)
class Condition:
    """What a model is told about each row of a batch: named tensors that share their first axis.

    Example: `Condition({"encoder_hidden_states": (2, 8, 48), "pooled_projections": (2, 48)})` for two prompts
    of the shapes world.
    """

    tensors: Mapping[str, Tensor]

    def take(self, rows: Index) -> "Condition":
        """Return the condition of the given rows, in that order; a row may be taken more than once."""
        return Condition({name: tensor[rows] for name, tensor in self.tensors.items()})


@runtime_checkable
class Policy(Protocol):
    """A flow-matching text-to-image model: the velocity field that is aligned, and its two ends.

    Velocities point from data to noise (`noise - data`), and sigma runs from 1 (noise) to 0 (data).
    """

    @property
    def module(self) -> torch.nn.Module:
        """The network whose parameters with `requires_grad` are trained."""
        ...

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """The shape of one latent, without the batch axis."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the network lies; latents, levels and conditions are expected there."""
        ...

    def encode(self, texts: Sequence[str]) -> Condition:
        """Return one row of condition for each prompt text. Never trained, computed without gradient.

        Raises:
            ValueError: If the model cannot read a text.
        """
        ...

    def velocity(self, latents: Latents, sigma: Levels, condition: Condition) -> Latents:
        """Return the velocity at each row's own noise level, in fp32, with gradient where grad mode is on."""
        ...

    def decode(self, latents: Latents) -> Images:
        """Return pictures in [0, 1] from clean latents (sigma = 0), without gradient."""
        ...

    def save(self, folder: Path) -> None:
        """Write the model in the format of its family, from which it can be loaded as a base."""
        ...
