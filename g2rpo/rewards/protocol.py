"""What the pipeline requires of a reward: one number per picture, in the reward's own units."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch

from g2rpo.types import Images, Rewards


class RewardError(ValueError):
    """A scorer failed, or its score is not a finite number.

    Args:
        row: The picture of the batch that caused it, if that is known.
    """

    def __init__(self, message: str, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


@runtime_checkable
class Reward(Protocol):
    """A function that scores pictures, with its name and its network."""

    @property
    def name(self) -> str:
        """The name under which params, tables and metrics know this reward."""
        ...

    @property
    def module(self) -> torch.nn.Module | None:
        """The network in this process, so that it can be moved to another device; None where there is none."""
        ...

    def score(self, images: Images, texts: Sequence[str]) -> Rewards:
        """Return one fp32 number per picture, in the reward's own units; higher is better. No gradient.

        Args:
            images: Pictures in [0, 1].
            texts: The prompt of each picture.

        Raises:
            ValueError: If there are not as many texts as pictures, or the reward cannot read a text.
            RewardError: If the scorer fails. A failure is never a number.
        """
        ...
