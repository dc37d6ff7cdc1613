"""Requests to a reward server: their bounds, and messages for what is beyond them.

A request that cannot be read is refused as a whole; a picture or text that cannot be scored is an error of its item.
"""

import base64
import io
import string
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

MAX_BODY_BYTES = 2**27
_MAX_SYNTAX_BYTES = 2**21  # JSON of many small values takes 30 times its bytes of memory
_MAX_CHARACTERS = 10_000  # of a text: some 2,000 tokens
_MAX_PIXELS = 2**26  # of a request: 64 pictures of 1024 x 1024
_MAX_PICTURE_PIXELS = 2**24  # 4096 x 4096
_MAX_BATCH_PIXELS = _MAX_PICTURE_PIXELS  # as numbers of four bytes they take 200 MB, those of a request 800
_MAX_RATIO = 8  # scorers resize the shorter side to their own, which multiplies the longer one
_OF_BASE64 = (string.ascii_letters + string.digits + "+/=").encode()


class RequestError(Exception):
    """A refused request: the status and message of the reply; `item` is the faulty item, if it is one."""

    def __init__(self, status: int, message: str, item: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.item = status, message, item


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
    """Items to score. Example: texts `["a red circle"]`, pictures `{0: a uint8 array of (16, 16, 3)}`, no errors."""

    texts: list[str]
    pictures: dict[int, np.ndarray]
    errors: dict[int, str] = field(default_factory=dict)
    """Items without a picture, and why."""

    def groups(self) -> list[list[int]]:
        """Return the items with a picture in batches, each of one size and of at most 2^24 pixels."""
        by_size: dict[tuple[int, ...], list[int]] = {}
        for item, picture in self.pictures.items():
            by_size.setdefault(picture.shape, []).append(item)
        batches: list[list[int]] = []
        for (height, width, _), items in by_size.items():
            most = max(1, _MAX_BATCH_PIXELS // (height * width))
            batches += [items[first : first + most] for first in range(0, len(items), most)]
        return batches

    def images(self, items: list[int], device: torch.device) -> torch.Tensor:
        """Return the pictures of some items, of one size, in [0, 1]."""
        stacked = torch.from_numpy(np.stack([self.pictures[item] for item in items]))
        return stacked.to(device).permute(0, 3, 1, 2).float().div_(255)


def read_request(body: bytes, max_batch: int, pin: Mapping[str, str]) -> ScoreRequest:
    """Parse the body of a request to the model and revision of `pin`, and decode its pictures.

    Raises:
        RequestError: If it is not the JSON of docs/remote-reward.md, has too many items, or is for another model.
    """
    parsed = _parsed(body)
    if not 1 <= len(parsed.items) <= max_batch:
        raise RequestError(413, f"1 to {max_batch} items per request are accepted, got {len(parsed.items)}.")
    if {"model": parsed.model, "revision": parsed.revision} != pin:
        raise RequestError(
            409,
            f"This server has model {pin['model']!r} of revision {pin['revision']!r}, got a request for "
            f"{parsed.model!r} and {parsed.revision!r}.",
        )
    request, left = ScoreRequest([item.text for item in parsed.items], {}), _MAX_PIXELS
    for number, item in enumerate(parsed.items):
        try:
            if len(item.text) > _MAX_CHARACTERS:
                raise ValueError(f"A text of at most {_MAX_CHARACTERS} characters is required, got {len(item.text)}.")
            picture = _picture(item.image, left)
        except ValueError as error:
            request.errors[number] = str(error)
        else:
            left -= picture.shape[0] * picture.shape[1]
            request.pictures[number] = picture
    return request


def _parsed(body: bytes) -> _Body:
    if (size := len(body.translate(None, delete=_OF_BASE64))) > _MAX_SYNTAX_BYTES:
        raise RequestError(
            400, f"At most {_MAX_SYNTAX_BYTES} bytes beside letters, digits, +, / and = are accepted, got {size}."
        )
    try:
        return _Body.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        at = [part for part in first["loc"] if isinstance(part, int)]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        message = f"{where[:100]}: {first['msg']}. docs/remote-reward.md has the fields."
        raise RequestError(400, message, at[0] if at else None) from None


def _picture(encoded: str, pixels_left: int) -> np.ndarray:
    """Decode a picture; its header is checked before its pixels are unpacked.

    Raises:
        ValueError: If it is not one whole RGB PNG within the bounds.
    """
    try:
        picture = Image.open(io.BytesIO(base64.b64decode(encoded, validate=True)), formats=["PNG"])
    except Exception as error:  # Pillow has many kinds of errors for damaged files
        raise _no_picture(error) from None
    _check_header(picture, pixels_left)
    try:
        return np.array(picture)
    except Exception as error:
        raise _no_picture(error) from None


def _check_header(picture: Image.Image, pixels_left: int) -> None:
    width, height = picture.size
    if width * height > _MAX_PICTURE_PIXELS:
        raise ValueError(f"A picture of at most {_MAX_PICTURE_PIXELS} pixels is required, got {width}x{height}.")
    if width * height > pixels_left:
        raise ValueError(f"At most {_MAX_PIXELS} pixels per request are scored, got more. Send fewer pictures.")
    if max(width, height) > _MAX_RATIO * min(width, height):
        raise ValueError(f"Sides of a ratio of at most {_MAX_RATIO} are required, got {width}x{height}.")
    if picture.mode != "RGB":
        raise ValueError(f"A PNG with the channels red, green and blue is required, got mode {picture.mode}.")
    if (frames := getattr(picture, "n_frames", 1)) != 1:
        raise ValueError(f"A PNG of one picture is required, got an animation of {frames}.")


def _no_picture(error: Exception) -> ValueError:
    return ValueError(f"A whole PNG in base64 is required, got none: {type(error).__name__}.")
