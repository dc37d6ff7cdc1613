"""Options that several commands share, and the functions that read parameters from them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stages.params.record import Params

ParamsFile = Annotated[Path, typer.Option("--params", help="The parameter file.")]
RunsParams = Annotated[Path | None, typer.Option("--params", help="The parameter file. Default: the run's own.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override a value: section.key=value. May be repeated.")
]
RunKey = Annotated[str, typer.Option("--run", help="The run's key, a prefix of it, its folder, or newest.")]
Round = Annotated[
    int, typer.Option("--round", min=0, help="The round, from 0; evaluate takes the policy after this many rounds.")
]


def params_for(run: str, file: Path | None, overrides: list[str] | None) -> "Params":
    """Return the parameters of a file, or of a run of the store if `file` is None."""
    if file is not None:
        return checked(file, overrides)
    from flows.upkeep.store_commands import find_whole, own_params

    return own_params(find_whole(run), overrides or [])


def checked(file: Path, overrides: list[str] | None) -> "Params":
    """Return the parameters. Called before a command's heavy imports, so that a mistake is reported at once."""
    from stages.params.file import load_params

    return load_params(file, overrides or [])
