"""How well a picture compresses: a reward without a network, for trying a pipeline and for seeing a reward hacked.

Source: DDPO, arXiv:2305.13301, section 5.1 (compressibility: minus the size of the JPEG in kB, quality 95).
Deviation: none; the paper's kB are 1000 bytes.
"""

from collections.abc import Sequence
from io import BytesIO

import torch
from PIL import Image

from g2rpo.rewards.pictures import check_counts, to_pil
from g2rpo.rewards.protocol import Reward
from g2rpo.types import Images, Rewards


class JpegReward:
    """Minus the size of the picture as a JPEG, in kB of 1000 bytes; at most 0, and nearer to 0 for a flat picture.

    The text has no part in it. Example: a picture of 1,234 bytes has the reward -1.234.
    """

    module = None

    def __init__(self, name: str, quality: int) -> None:
        self.name = name
        self._quality = quality

    def score(self, images: Images, texts: Sequence[str]) -> Rewards:
        """Return minus the size of each picture in kB.

        Raises:
            ValueError: If there are not as many texts as pictures.
        """
        check_counts(self.name, images, texts)
        sizes = [-self._bytes(picture) / 1000 for picture in to_pil(images)]
        return torch.tensor(sizes, dtype=torch.float32, device=images.device)

    def _bytes(self, picture: Image.Image) -> int:
        file = BytesIO()
        picture.save(file, format="JPEG", quality=self._quality)
        return file.tell()


def load_jpeg(name: str, *, quality: int, device: str | torch.device = "cpu") -> Reward:
    """Return the reward for small JPEG files.

    Args:
        device: Not used: files are written on the CPU.
        quality: Of the JPEG, 1 to 95 (Pillow advises against more); the paper has 95.

    Raises:
        ValueError: If the quality is not in that range.
    """
    if not 1 <= quality <= 95:
        raise ValueError(
            f"A JPEG has a quality from 1 to 95, got {quality}. "
            f"Set `rewards.{name}.quality` in params.yaml; the paper has 95."
        )
    return JpegReward(name, quality)
