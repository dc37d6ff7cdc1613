"""The model families by name; the code of one is loaded when it is first asked for. This file loads no torch."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from g2rpo.policies.pipeline_folder import INDEX, patterns

if TYPE_CHECKING:
    from g2rpo.policies.protocol import Pretrained


@dataclass(frozen=True)
class Family:
    """What is known of a family without loading it.

    Example: `FAMILIES["sd3"].encoder_files` begins with `text_encoder/*.safetensors`.
    """

    code: str
    """`module:class` of its base models."""
    policy_files: tuple[str, ...]
    """Patterns, relative to a model's folder, of what the policy's numbers come from."""
    encoders: tuple[str, ...]
    """Subfolders of text encoders and tokenizers; none where they are too small to be worth a cache."""

    @property
    def encoder_files(self) -> tuple[str, ...]:
        """Patterns of what the text encoders' numbers come from."""
        return patterns(*self.encoders)

    @property
    def files(self) -> tuple[str, ...]:
        """Patterns of all that the numbers come from, which is all that need be downloaded."""
        return self.policy_files + self.encoder_files


_KEPT = (INDEX, *patterns("transformer", "vae", "scheduler"))

FAMILIES = {
    "shapes": Family(
        "g2rpo.policies.shapes:Shapes",
        ("transformer/*.safetensors", "transformer/config.json", "words.safetensors"),
        (),
    ),
    "flux1": Family(
        "g2rpo.policies.flux1:Flux1", _KEPT, ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
    ),
    "sd3": Family(
        "g2rpo.policies.sd3:StableDiffusion3",
        _KEPT,
        tuple(f"{part}{number}" for part in ("text_encoder", "tokenizer") for number in ("", "_2", "_3")),
    ),
}


def pretrained(family: str, folder: Path, settings: Mapping[str, Any]) -> "Pretrained":
    """Return the base model of a folder; `settings` are what the family's section of params.yaml has beside it.

    Raises:
        ValueError: If the folder holds no such model, or it does not fit the settings.
    """
    module, name = FAMILIES[family].code.split(":")
    return getattr(importlib.import_module(module), name)(folder, **settings)
