"""The rewards by kind, and those of a world; the code of one is loaded when it is first asked for."""

from pathlib import Path
from typing import Any

import torch

from g2rpo.rewards.protocol import Reward


def load(kind: str, name: str, device: torch.device, **settings: Any) -> Reward:
    """Return a reward of a kind; `settings` are those of its record in params.yaml, sources as local paths.

    Raises:
        ValueError: If the files are not those of such a reward.
    """
    return _KINDS[kind](name, device, **settings)


def load_of_world(family: str, name: str, device: torch.device) -> Reward:
    """Return a reward that a family brings along for its own pictures."""
    return _OF_WORLDS[family](name, device)


def _of_shapes(name: str, device: torch.device) -> Reward:
    from g2rpo.rewards.shapes import load_reward

    return load_reward(name, device)


_OF_WORLDS = {"shapes": _of_shapes}


def _hps(
    name: str, device: torch.device, *, backend: str, weights: Path, clip: Path | None, folder: str | None
) -> Reward:
    if clip is not None:
        from g2rpo.rewards.hps import load_hps

        return load_hps(name, weights=weights, clip=clip, device=device)
    from g2rpo.rewards.hps_isolated import load_hps_isolated

    assert folder is not None, f"The parameters refuse a backend {backend} without its folder."
    return load_hps_isolated(name, weights=weights, folder=Path(folder), device=device)


def _clip_score(name: str, device: torch.device, **paths: Path) -> Reward:
    from g2rpo.rewards.clip_score import load_clip_score

    return load_clip_score(name, device=device, **paths)


def _pick_score(name: str, device: torch.device, **paths: Path) -> Reward:
    from g2rpo.rewards.pick_score import load_pick_score

    return load_pick_score(name, device=device, **paths)


def _image_reward(name: str, device: torch.device, **paths: Path) -> Reward:
    from g2rpo.rewards.image_reward import load_image_reward

    return load_image_reward(name, device=device, **paths)


def _aesthetic(name: str, device: torch.device, **paths: Path) -> Reward:
    from g2rpo.rewards.aesthetic import load_aesthetic

    return load_aesthetic(name, device=device, **paths)


def _jpeg(name: str, device: torch.device, *, quality: int) -> Reward:
    from g2rpo.rewards.jpeg import load_jpeg

    return load_jpeg(name, quality=quality)


def _remote(name: str, device: torch.device, **settings: Any) -> Reward:
    from g2rpo.rewards.remote import load_remote

    return load_remote(name, **settings)


_KINDS = {
    "hps": _hps,
    "clip_score": _clip_score,
    "pick_score": _pick_score,
    "image_reward": _image_reward,
    "aesthetic": _aesthetic,
    "jpeg": _jpeg,
    "remote": _remote,
}
