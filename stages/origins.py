"""Digests of what a run is made from and has not made itself: base weights, rewards, lists of prompts."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from g2rpo.shapes.shipped import judge_path, shipped_base
from stages.files import file_digest, value_digest
from stages.params import Params
from stages.prompt_lists import list_digest
from stages.registry import Stage


def policy_digest(params: Params) -> str:
    """Return the digest of the weights that a run starts from.

    Raises:
        ValueError: If there are none.
    """
    return weights_digest(Path(params.policy.path) if params.policy.path else shipped_base())


@cache
def reward_digest(name: str) -> str:
    """Return the digest of what a reward judges by; that of one without weights is of its name alone."""
    weights = judge_path(name)
    return value_digest({"reward": name, "weights": file_digest(weights) if weights.is_file() else None})


def stage_origins(stage: Stage, params: Params) -> dict[str, str]:
    """Return the digests of what a stage reads beside tables and policies, by name.

    Example: for `score`, `{"rewards/judge_a": "9f…"}`; for `prompts`, `{"prompts/train": "03…"}`.
    """
    section = getattr(params, stage.name)
    lists = {f"prompts/{section.split}": list_digest(params, section.split)} if "prompts" in stage.origins else {}
    judges = {f"rewards/{name}": reward_digest(name) for name in section.rewards} if "rewards" in stage.origins else {}
    return lists | judges


def run_origins(params: Params) -> dict[str, str]:
    """Return the digests of all that the numbers of a run's rounds come from, by name."""
    return {
        "policy": policy_digest(params),
        f"prompts/{params.prompts.split}": list_digest(params, params.prompts.split),
    } | {f"rewards/{name}": reward_digest(name) for name in params.score.rewards}


def weights_digest(folder: Path, names: Sequence[str] = ("*.safetensors", "config.json")) -> str:
    """Return the digest of a folder's weights and configurations, whatever the folder is called.

    Raises:
        ValueError: If it holds none.
    """
    files = sorted(path for name in names for path in folder.rglob(name))
    if not files:
        raise ValueError(f"A folder of weights is required, got {folder} without any. Correct policy.path.")
    return value_digest({str(path.relative_to(folder)): file_digest(path) for path in files})
