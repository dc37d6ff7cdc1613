"""Requests to a reward server: parsing, and messages for invalid ones."""

import base64
import io
import struct
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

MAX_BODY_BYTES = 2**27
_MAX_PIXELS = 2**26  # per request: 64 pictures of 1024 x 1024


class RequestError(Exception):
    """A refused request: the status and message of the reply; `item` is the faulty picture, if it is one."""

    def __init__(self, status: int, message: str, item: int | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.item, self.retry_after = status, message, item, retry_after


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Item(_Strict):
    text: str
    image: str


class _Body(_Strict):
    model: str
    revision: str
    items: list[_Item]


@dataclass(frozen=True)
class ScoreRequest:
    """Pictures to score. Example: texts `["a red circle"]`, pictures `[a uint8 array of (16, 16, 3)]`."""

    model: str
    revision: str
    texts: list[str]
    pictures: list[np.ndarray]

    def groups(self) -> list[list[int]]:
        """Return the items grouped by picture size: a batch has one size."""
        by_size: dict[tuple[int, ...], list[int]] = {}
        for item, picture in enumerate(self.pictures):
            by_size.setdefault(picture.shape, []).append(item)
        return list(by_size.values())

    def images(self, items: list[int], device: torch.device) -> torch.Tensor:
        """Return the pictures of some items, of one size, in [0, 1]."""
        stacked = torch.from_numpy(np.stack([self.pictures[item] for item in items]))
        return stacked.to(device).permute(0, 3, 1, 2).float() / 255


def read_request(body: bytes, max_batch: int) -> ScoreRequest:
    """Parse the body of a request.

    Raises:
        RequestError: If it is not the JSON of docs/remote-reward.md, has too many pictures or pixels, or a picture
            that is not an RGB PNG.
    """
    try:
        parsed = _Body.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        at = [part for part in first["loc"] if isinstance(part, int)]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        message = f"{where}: {first['msg']}. docs/remote-reward.md has the fields."
        raise RequestError(422, message, at[0] if at else None) from None
    if not 1 <= len(parsed.items) <= max_batch:
        raise RequestError(413, f"1 to {max_batch} items per request are accepted, got {len(parsed.items)}.")
    left = _MAX_PIXELS
    pictures: list[np.ndarray] = []
    for number, item in enumerate(parsed.items):
        picture = _picture(item.image, number, left)
        left -= picture.shape[0] * picture.shape[1]
        pictures.append(picture)
    return ScoreRequest(parsed.model, parsed.revision, [item.text for item in parsed.items], pictures)


def _picture(encoded: str, item: int, max_pixels: int) -> np.ndarray:
    """Decode a picture; check its size before unpacking it."""
    too_large = f"Pictures of at most {_MAX_PIXELS} pixels in all are accepted, got more. Send fewer or smaller ones."
    try:
        picture = Image.open(io.BytesIO(base64.b64decode(encoded, validate=True)), formats=["PNG"])
        if picture.width * picture.height > max_pixels:
            raise RequestError(413, too_large, item)
        if picture.mode != "RGB":
            raise RequestError(
                422, f"A PNG with the channels red, green and blue is required, got mode {picture.mode}.", item
            )
        return np.array(picture)
    except Image.DecompressionBombError:
        raise RequestError(413, too_large, item) from None
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        raise RequestError(422, f"A whole PNG in base64 is required, got none: {type(error).__name__}.", item) from None
