"""A policy so small that its trajectories can be followed by hand: velocity = weight x + bias(prompt)."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import torch

from g2rpo.policies.protocol import Condition
from g2rpo.types import Images, Latents, Levels


class LinearPolicy:
    """Velocity `w x + c sigma` with one weight and one number a prompt; it records the size of each call."""

    def __init__(self, weight: float = 0.5, latent_shape: tuple[int, ...] = (3,)) -> None:
        self.module = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.constant_(self.module.weight, weight)
        self.latent_shape = latent_shape
        self.device = torch.device("cpu")
        self.num_forwards = 1
        self.decoder = None
        self.adapted = False
        self.calls: list[int] = []

    def encode(self, texts: Sequence[str]) -> Condition:
        return Condition({"c": torch.tensor([float(text) for text in texts])})

    def velocity(self, latents: Latents, sigma: Levels, condition: Condition) -> Latents:
        self.calls.append(len(latents))
        constant = (condition.tensors["c"] * sigma).reshape(-1, *[1] * (latents.ndim - 1))
        return latents * self.module.weight[0, 0] + constant

    def without_adapter(self):
        return nullcontext()

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    def save_adapter(self, folder: Path) -> None:
        raise NotImplementedError

    def decode(self, latents: Latents) -> Images:
        raise NotImplementedError
