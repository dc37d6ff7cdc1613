"""The rewards by kind, and those of a world; the code of one is loaded when it is first asked for."""

from collections.abc import Callable
from typing import Any

import torch

from g2rpo.rewards.protocol import Reward


def load(kind: str, name: str, device: torch.device, **settings: Any) -> Reward:
    """Return a reward of a kind; `settings` are those of its record in params.yaml, sources as local paths.

    Raises:
        ValueError: If the files are not those of such a reward.
    """
    return _loader(kind)(name, device=device, **settings)


def load_of_world(family: str, name: str, device: torch.device) -> Reward:
    """Return a reward that a family brings along for its own pictures."""
    match family:
        case "shapes":
            from g2rpo.rewards.shapes import load_reward
        case _:
            raise AssertionError(f"The family {family} brings no reward along.")
    return load_reward(name, device)


def _loader(kind: str) -> Callable[..., Reward]:
    """Return what loads a reward of a kind from its name, the device and the settings of its record."""
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
