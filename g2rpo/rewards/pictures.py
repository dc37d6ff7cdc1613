"""Pictures as the pretrained scorers were trained to see them: rounded to 8 bits, as a saved PNG would be."""

from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from g2rpo.types import Images

_LONGEST = 4  # times the shorter side; pictures up to this are resized as their scorers' packages do it


def to_uint8(images: Images) -> UInt8[Tensor, "b h w 3"]:
    """Return pictures in [0, 1] as bytes on the CPU, rounded to the nearest, channels last.

    Example: 0.5 becomes 128, since 127.5 is rounded to the even number.
    """
    return (images.detach().float() * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu()


def to_pil(images: Images) -> list[Image.Image]:
    """Return pictures in [0, 1] as RGB images."""
    return [Image.fromarray(picture) for picture in to_uint8(images).numpy()]


def middle(picture: Image.Image) -> Image.Image:
    """Return the middle 4:1 of a longer picture, and any other picture as it is.

    Scorers that see the middle square resize first. Without this cut a picture of 8 x 100,000 would become one of
    224 x 2,800,000, of 1.9 GB.
    """
    short, long = sorted(picture.size)
    kept = _LONGEST * short + long % 2  # an odd length has its middle within a pixel
    if long <= kept:
        return picture
    start = (long - kept) // 2
    box = (start, 0, start + kept, short) if picture.width == long else (0, start, short, start + kept)
    return picture.crop(box)


def check_counts(name: str, images: Images, texts: Sequence[str]) -> None:
    """Refuse a batch without one text per picture.

    Raises:
        ValueError: With the reward's name, if the counts differ.
    """
    if len(images) != len(texts):
        raise ValueError(
            f"Reward {name} needs one text per picture, got {len(images)} pictures and {len(texts)} texts. "
            "Repeat or drop texts until they match."
        )
