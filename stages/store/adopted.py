"""Runs whose parameters a stranger may have written: adopted ones, those outside the store, those of other users.

The key of a run does not cover where its code, servers and tokens are. So they are used only if a person names them.
The mark lies beside the runs, where no folder that is adopted can bring or remove it.
"""

import os
from pathlib import Path

from stages.disk.files import write_text
from stages.disk.root import store_root
from stages.params.record import Params

_CODE_AND_SERVERS = ("folder", "url", "token_env")
"""Keys of rewards outside the fingerprint: code that is imported, the address that pictures are sent to, the variable
whose value is sent with them."""


def mark_adopted(key: str, source: Path) -> None:
    """Note that the parameters of a run come from a folder.

    Raises:
        StoreWriteError: If the store cannot be written to.
    """
    write_text(_mark(key), f"{source.resolve()}\n")


def forget_adopted(key: str) -> None:
    """Remove the mark of a run, which a person has started with parameters that were checked."""
    _mark(key).unlink(missing_ok=True)


def is_foreign(folder: Path) -> bool:
    """Whether a stranger may have written the parameters of the run in a folder."""
    elsewhere = folder.parent != store_root() / "runs"
    return elsewhere or _mark(folder.name).is_file() or _is_of_another_user(folder / "params.yaml")


def outer_settings(params: Params) -> dict[str, str]:
    """Return the settings that name code, servers or variables and that a run's key does not cover, by key.

    Example: `{"rewards.hps.folder": "/opt/hpsv2", "tracking.uri": "http://127.0.0.1:5000"}`.
    """
    values = {"placement.address": params.placement.address, "tracking.uri": params.tracking.uri} | {
        f"rewards.{name}.{key}": getattr(reward, key, None)
        for name, reward in params.rewards.items()
        for key in _CODE_AND_SERVERS
    }
    return {key: value for key, value in values.items() if value is not None}


def require_named(folder: Path, params: Params, *, by: Params | None = None) -> None:
    """Refuse code, servers and variables that the parameters of a foreign run name, unless a person names the same.

    Args:
        folder: The run's folder.
        params: The parameters with which a command would go on.
        by: The parameters of a person's own file; None: there are none.

    Raises:
        ValueError: With each setting.
    """
    if not is_foreign(folder):
        return
    named = outer_settings(by).items() if by else ()
    unnamed = [f"{key}: {value!r}" for key, value in outer_settings(params).items() if (key, value) not in named]
    if unnamed:
        lines = "\n".join(f"  {line}" for line in unnamed)
        raise ValueError(
            f"The run in {folder} was adopted, lies outside the store, or is of another user: its own parameters may "
            f"not name code, servers or variables, got\n{lines}\nIf you trust them, write the parameters with these "
            "settings into a file of your own, and run `g2rpo train --params FILE`."
        )


def uses(params: Params) -> list[str]:
    """Return, line by line, what a run with these parameters loads, runs and contacts."""
    policy = params.policy.model_dump()
    place = policy.get("path") or "the shipped weights"
    lines = [f"model: {policy['family']}, {place!r}" + (f" at {policy['revision']}" if policy.get("revision") else "")]
    for name, reward in params.rewards.items():
        values = reward.model_dump(exclude={"kind"})
        flat = ", ".join(f"{key} {value!r}" for key, value in values.items() if value is not None)
        lines.append(f"reward {name!r}: {reward.kind}, {flat}")
    code_and_servers = [f"{key} {value!r}" for key, value in outer_settings(params).items()]
    return [*lines, f"code, servers and variables: {', '.join(code_and_servers) or 'none'}"]


def _is_of_another_user(file: Path) -> bool:
    return file.is_file() and file.stat().st_uid != os.geteuid()


def _mark(key: str) -> Path:
    return store_root() / "adopted" / key
