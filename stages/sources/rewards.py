"""The rewards that params.yaml names: checks, digests and loading."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from g2rpo.policies.families import FAMILIES
from stages.disk.files import value_digest
from stages.params.record import Params
from stages.params.rewards import HpsParams, RemoteParams
from stages.params.section import ConfigSource, Effect, FileSource, Source
from stages.sources.hub import files_digest, local_file, local_folder, weights_digest

if TYPE_CHECKING:
    import torch

    from g2rpo.rewards.protocol import Reward

_CONFIG_FILES = ("*.json", "*.txt", "*.model")
_MODEL_FILES = ("*.safetensors", "*.bin", *_CONFIG_FILES)


def check_names(params: Params, names: Collection[str]) -> None:
    """Refuse names without a reward for this model; the rewards of a world score only its pictures.

    Raises:
        ValueError: With the known names.
    """
    own = _world_rewards(params)
    known = [*own, *params.rewards]
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(
            f"A reward for a model of the family {params.policy.family} is one of {', '.join(known) or '(none yet)'}, "
            f"got {', '.join(unknown)}. Describe it in the section rewards, or name others in score.rewards and "
            "evaluate.rewards."
        )
    for world in filter(None, (family.world for family in FAMILIES.values())):
        if taken := sorted(set(params.rewards) & set(world.rewards)):
            raise ValueError(
                f"rewards: names other than those of the {world.title} are required, got {', '.join(taken)}. Rename."
            )


def check_rewards(params: Params, names: Collection[str]) -> None:
    """Refuse unavailable rewards before anything is computed: files are downloaded, a remote reward must answer.

    Raises:
        ValueError: With the missing file or server.
    """
    check_names(params, names)
    for name in sorted(names):
        reward_digest(params, name)
        settings = params.rewards.get(name)
        if isinstance(settings, HpsParams) and settings.folder and not (Path(settings.folder) / "hpsv2").is_dir():
            raise ValueError(
                f"rewards.{name}.folder: a folder that `g2rpo setup hps` made is required, got {settings.folder}, "
                f"which is none. Run `g2rpo setup hps --folder {settings.folder}` first."
            )
        if isinstance(settings, RemoteParams):
            remote: Any = load_reward(params, name, None)
            remote.check()


def reward_digest(params: Params, name: str) -> str:
    """Return the digest of a reward: its settings and the contents of its files, not their paths.

    Raises:
        ValueError: If a file is missing.
    """
    if name in (own := _world_rewards(params)):
        weights = own[name]
        return value_digest({"reward": name, "weights": weights and weights_digest(weights)})
    settings = params.rewards[name]
    described: dict[str, Any] = {}
    for field, value in settings:
        key = f"rewards.{name}.{field}"
        if isinstance(value, FileSource):
            described[field] = weights_digest(local_file(value, key=key))
        elif isinstance(value, Source):
            described[field] = files_digest(local_folder(value, _patterns(value), key=key), _patterns(value), key=key)
        elif settings.effect_of(field) is not Effect.NONE:
            described[field] = value
    return value_digest(described)


def load_reward(params: Params, name: str, device: "torch.device | None") -> "Reward":
    """Return a reward.

    Raises:
        ValueError: If its files do not fit such a reward.
    """
    import torch

    from g2rpo.rewards.kinds import load, load_of_world

    device = device or torch.device("cpu")
    if name in _world_rewards(params):
        return load_of_world(params.policy.family, name, device)
    settings = params.rewards[name]
    values: dict[str, Any] = {
        field: _local(value, f"rewards.{name}.{field}") for field, value in settings if field != "kind"
    }
    if isinstance(settings, RemoteParams):
        values["token"] = _token(values.pop("token_env"), name)
    return load(settings.kind, name, device, **values)


def _world_rewards(params: Params) -> Mapping[str, Path | None]:
    """Return the rewards of the family's own world, with their weights."""
    world = FAMILIES[params.policy.family].world
    return world.rewards if world else {}


def _local(value: Any, key: str) -> Any:
    if isinstance(value, FileSource):
        return local_file(value, key=key)
    return local_folder(value, _patterns(value), key=key) if isinstance(value, Source) else value


def _patterns(source: Source) -> tuple[str, ...]:
    return _CONFIG_FILES if isinstance(source, ConfigSource) else _MODEL_FILES


def _token(variable: str | None, name: str) -> str | None:
    if variable is None:
        return None
    token = os.environ.get(variable)
    if not token:
        raise ValueError(
            f"rewards.{name}.token_env: the environment variable {variable} must hold the server's token, got none. "
            "Set it, or set token_env to null."
        )
    return token
