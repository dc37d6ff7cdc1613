"""Digests of a run's external inputs: base weights, rewards, lists of prompts."""

from stages.contract.declared_stages import Stage
from stages.params.record import Params
from stages.sources.base_model import policy_digest
from stages.sources.rewards import reward_digest
from stages.texts.lists import list_digest


def stage_origins(stage: Stage, params: Params) -> dict[str, str]:
    """Return the digests of a stage's inputs beside tables and policies, by name.

    Example: for `score`, `{"rewards/judge_a": "9f…"}`; for `prompts`, `{"prompts/train": "03…"}`.
    """
    section = getattr(params, stage.name)
    lists = {f"prompts/{section.split}": list_digest(params, section.split)} if "prompts" in stage.origins else {}
    names = section.rewards if "rewards" in stage.origins else ()
    return lists | {f"rewards/{name}": reward_digest(params, name) for name in names}


def run_origins(params: Params) -> dict[str, str]:
    """Return the digests of the external inputs of a run's rounds, by name."""
    return {
        "policy": policy_digest(params),
        f"prompts/{params.prompts.split}": list_digest(params, params.prompts.split),
    } | {f"rewards/{name}": reward_digest(params, name) for name in params.score.rewards}
