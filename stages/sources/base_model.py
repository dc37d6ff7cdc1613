"""The base model that params.yaml names: its folder, its digests, and the object that loads it."""

from pathlib import Path
from typing import TYPE_CHECKING

from g2rpo.policies.families import FAMILIES
from g2rpo.policies.loading import pretrained
from stages.params.record import Params
from stages.params.section import Effect, Source
from stages.sources.hub import files_digest, local_folder

if TYPE_CHECKING:
    from g2rpo.policies.protocol import Pretrained


def base_folder(params: Params) -> Path:
    """Return the folder of the base model, downloaded if it is on a hub.

    Raises:
        ValueError: If there is none.
    """
    policy, family = params.policy, FAMILIES[params.policy.family]
    if isinstance(policy, Source):
        return local_folder(policy, family.files, key="policy")
    assert family.world is not None, f"The family {policy.family} is read from a folder that its section names."
    return Path(policy.path) if policy.path else family.world.base


def base_model(params: Params) -> "Pretrained":
    """Return the base model; nothing of it is loaded yet.

    Raises:
        ValueError: If the folder holds no model of this family, or it does not fit the section `policy`.
    """
    settings = params.policy.model_dump(exclude=params.policy.keys_with(Effect.CONTENTS) | {"family"})
    if settings.get("lora"):
        from g2rpo.policies.adapter import Lora

        settings["lora"] = Lora(**settings["lora"])
    return pretrained(params.policy.family, base_folder(params), settings)


def policy_digest(params: Params) -> str:
    """Return the digest of the files that a run starts from.

    Raises:
        ValueError: If there are none.
    """
    return files_digest(base_folder(params), FAMILIES[params.policy.family].files, key="policy.path")


def encoder_digest(params: Params) -> str | None:
    """Return the digest of the text encoders; None if embeddings are not worth a cache."""
    patterns = FAMILIES[params.policy.family].encoder_files
    return files_digest(base_folder(params), patterns, key="policy.path") if patterns else None
