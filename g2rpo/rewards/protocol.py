"""What the pipeline asks of a reward: one number a picture, in the reward's own units."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from g2rpo.types import Images, Rewards


@runtime_checkable
class Reward(Protocol):
    """A judge of pictures."""

    @property
    def name(self) -> str:
        """The name under which params, tables and metrics know this reward."""
        ...

    def score(self, images: Images, texts: Sequence[str]) -> Rewards:
        """Return one fp32 number a picture, in the reward's own units; higher is better. No gradient.

        Args:
            images: Pictures in [0, 1].
            texts: The prompt of each picture.

        Raises:
            ValueError: If there are not as many texts as pictures, or a text cannot be judged.
        """
        ...
