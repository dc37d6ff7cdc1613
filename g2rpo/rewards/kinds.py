"""Loads rewards by kind, or those of the shapes world; imports the code of a reward at its first use."""

from collections.abc import Callable
from typing import Any

import torch

from g2rpo.rewards.protocol import Reward


def load(kind: str, name: str, device: torch.device, **settings: Any) -> Reward:
    """Return a reward of a kind; `settings` is its record in params.yaml, with sources as local paths.

    Raises:
        ValueError: If the files do not belong to such a reward.
    """
    return _loader(kind)(name, device=device, **settings)


def load_of_world(family: str, name: str, device: torch.device) -> Reward:
    """Return a reward that a family includes for its own pictures."""
    match family:
        case "shapes":
            from g2rpo.rewards.shapes import load_reward
        case _:
            raise AssertionError(f"The family {family} includes no rewards.")
    return load_reward(name, device)


def _loader(kind: str) -> Callable[..., Reward]:
    """Return the function that loads a reward of a kind from name, device and settings."""
    match kind:
        case "hps":
            from g2rpo.rewards.hps import load_hps_by_backend as loader
        case "clip_score":
            from g2rpo.rewards.clip_score import load_clip_score as loader
        case "pick_score":
            from g2rpo.rewards.pick_score import load_pick_score as loader
        case "image_reward":
            from g2rpo.rewards.image_reward import load_image_reward as loader
        case "aesthetic":
            from g2rpo.rewards.aesthetic import load_aesthetic as loader
        case "jpeg":
            from g2rpo.rewards.jpeg import load_jpeg as loader
        case "remote":
            from g2rpo.rewards.remote import load_remote as loader
        case _:
            raise AssertionError(f"The parameters know no reward of the kind {kind}.")
    return loader
