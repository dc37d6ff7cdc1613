"""The command that asks stored runs for their signal."""

from pathlib import Path
from typing import Annotated

import typer

signals = typer.Typer()


@signals.command()
def signal(
    run: Annotated[
        list[str], typer.Option("--run", help="A run's key, its beginning, its folder, or newest. May be repeated.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the tables, the page and the picture.")] = Path("outputs/signal"),
    phases: Annotated[int, typer.Option(min=1, help="Equal parts of training that are told apart.")] = 4,
) -> None:
    """Say where runs had their signal: spread of the rewards by step and granularity, agreement of granularities.

    Read from the stored rewards alone, which stay for ever. Runs that differ in their seed alone are one setting.
    """
    from flows.report.spread import signal_of_runs

    print(signal_of_runs(run, out, phases=phases))
