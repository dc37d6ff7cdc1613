"""The base model that params.yaml names: its folder, its digests, and its halves."""

from pathlib import Path
from typing import TYPE_CHECKING

from g2rpo.policies.families import FAMILIES
from g2rpo.policies.loading import pretrained
from g2rpo.shapes.shipped import shipped_base
from stages.params.policy import ShapesParams
from stages.params.record import Params
from stages.params.section import Effect
from stages.sources.hub import files_digest, local_folder

if TYPE_CHECKING:
    from g2rpo.policies.protocol import Pretrained


def base_folder(params: Params) -> Path:
    """Return the folder of the base model, downloaded if it lies on a hub.

    Raises:
        ValueError: If there is none.
    """
    policy = params.policy
    if isinstance(policy, ShapesParams):
        return Path(policy.path) if policy.path else shipped_base()
    return local_folder(policy, FAMILIES[policy.family].files, key="policy")


def base_model(params: Params) -> "Pretrained":
    """Return the base model, of which nothing is loaded yet.

    Raises:
        ValueError: If the folder holds none of this family, or it does not fit the section `policy`.
    """
    policy = params.policy
    beside = {key for key in type(policy).model_fields if policy.effect_of(key) is Effect.CONTENTS}
    settings = policy.model_dump(exclude=beside | {"family"})
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
    """Return the digest of the text encoders; None where embeddings are not worth a cache."""
    patterns = FAMILIES[params.policy.family].encoder_files
    return files_digest(base_folder(params), patterns, key="policy.path") if patterns else None
