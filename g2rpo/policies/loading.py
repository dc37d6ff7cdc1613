"""The base model of a folder, by its family; the code of a family is imported at its first use."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from g2rpo.policies.protocol import Pretrained


def pretrained(family: str, folder: Path, settings: Mapping[str, Any]) -> "Pretrained":
    """Return the base model of a folder; `settings` are the other keys of the family's section of params.yaml.

    Raises:
        ValueError: If the folder holds no such model, or it does not fit the settings.
    """
    return _LOADERS[family](folder, settings)


def _shapes(folder: Path, settings: Mapping[str, Any]) -> "Pretrained":
    from g2rpo.policies.shapes import Shapes

    return Shapes(folder, **settings)


def _flux1(folder: Path, settings: Mapping[str, Any]) -> "Pretrained":
    from g2rpo.policies.flux1 import Flux1

    return Flux1(folder, **settings)


def _sd3(folder: Path, settings: Mapping[str, Any]) -> "Pretrained":
    from g2rpo.policies.sd3 import StableDiffusion3

    return StableDiffusion3(folder, **settings)


_LOADERS: Mapping[str, Callable[[Path, Mapping[str, Any]], "Pretrained"]] = {
    "shapes": _shapes,
    "flux1": _flux1,
    "sd3": _sd3,
}
