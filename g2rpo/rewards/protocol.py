"""What the pipeline asks of a reward: one number a picture, in the reward's own units."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch

from g2rpo.types import Images, Rewards


class RewardError(ValueError):
    """A scorer failed, or gave something that is no finite number.

    Args:
        row: The picture of the batch that it happened with, where that is known.
    """

    def __init__(self, message: str, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


@runtime_checkable
class Reward(Protocol):
    """A judge of pictures."""

    @property
    def name(self) -> str:
        """The name under which params, tables and metrics know this reward."""
        ...

    @property
    def module(self) -> torch.nn.Module | None:
        """The network in this process, so that it can be moved to another device; None where there is none."""
        ...

    def score(self, images: Images, texts: Sequence[str]) -> Rewards:
        """Return one fp32 number a picture, in the reward's own units; higher is better. No gradient.

        Args:
            images: Pictures in [0, 1].
            texts: The prompt of each picture.

        Raises:
            ValueError: If there are not as many texts as pictures, or a text cannot be judged.
            RewardError: If the scorer fails. A failure is never a number.
        """
        ...
