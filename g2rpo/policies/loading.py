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
    return _loader(family)(folder, **settings)


def _loader(family: str) -> Callable[..., "Pretrained"]:
    """Return what loads the base model of a family from its folder and settings."""
    match family:
        case "shapes":
            from g2rpo.policies.shapes import Shapes as Model
        case "flux1":
            from g2rpo.policies.flux1 import Flux1 as Model
        case "sd3":
            from g2rpo.policies.sd3 import StableDiffusion3 as Model
        case _:
            raise AssertionError(f"The parameters know no family {family}.")
    return Model
