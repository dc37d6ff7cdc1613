"""The model families by name, with their properties that need no loading. This file does not import torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g2rpo.policies.pipeline_folder import INDEX, patterns
from g2rpo.shapes.captions import captions, tokens
from g2rpo.shapes.shipped import JUDGES, REWARDS, judge_path, shipped_base


@dataclass(frozen=True)
class World:
    """What a family includes, so that nothing has to be downloaded.

    Example: `FAMILIES["shapes"].world.captions("test")` has 146 captions.
    """

    title: str
    base: Path
    """Folder of the base model."""
    captions: Callable[[str], tuple[str, ...]]
    """The captions of a split."""
    read: Callable[[Sequence[str]], object]
    """Raises ValueError for a text that the model cannot read; it knows only a few words."""
    rewards: Mapping[str, Path | None]
    """Rewards for its pictures only, by name, with their weights; a rule has none."""


@dataclass(frozen=True)
class Family:
    """The properties of a family that need no loading.

    Example: `FAMILIES["sd3"].encoder_files` begins with `text_encoder/*.safetensors`.
    """

    policy_files: tuple[str, ...]
    """Patterns, relative to a model's folder, of the files that determine the policy."""
    encoders: tuple[str, ...]
    """Subfolders of text encoders and tokenizers; empty if they are too small to cache."""
    num_forwards: Callable[[Mapping[str, Any]], int] = lambda settings: 1
    """Rows through the network for one velocity, by the section `policy` of params.yaml."""
    world: World | None = None

    @property
    def encoder_files(self) -> tuple[str, ...]:
        """Patterns of the files that determine the text encoders."""
        return patterns(*self.encoders)

    @property
    def files(self) -> tuple[str, ...]:
        """Patterns of all files that determine the results; only these have to be downloaded."""
        return self.policy_files + self.encoder_files


def is_guided(guidance: float) -> bool:
    """Whether guidance of this scale also needs the network's output for the negative prompt."""
    return guidance > 1


_KEPT = (INDEX, *patterns("transformer", "vae", "scheduler"))

FAMILIES = {
    "shapes": Family(
        ("transformer/*.safetensors", "transformer/config.json", "words.safetensors"),
        (),
        world=World(
            "shapes world",
            shipped_base(),
            captions,
            tokens,
            {name: judge_path(name) if name in JUDGES else None for name in REWARDS},
        ),
    ),
    "flux1": Family(_KEPT, ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")),
    "sd3": Family(
        _KEPT,
        tuple(f"{part}{number}" for part in ("text_encoder", "tokenizer") for number in ("", "_2", "_3")),
        num_forwards=lambda settings: 2 if is_guided(settings["guidance"]) else 1,
    ),
}
