"""The command that measures the reward spread of stored runs."""

from pathlib import Path
from typing import Annotated

import typer

from flows.common.escape import say

signals = typer.Typer()


@signals.command()
def signal(
    run: Annotated[
        list[str], typer.Option("--run", help="A run's key, a prefix of it, its folder, or newest. May be repeated.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the tables, page and picture.")] = Path("outputs/signal"),
    phases: Annotated[int, typer.Option(min=1, help="Number of equal phases to divide training into.")] = 4,
) -> None:
    """Show where runs got their signal: reward spread by step and granularity, agreement of granularities.

    It reads only the stored rewards, which are never pruned. Runs that differ only in their seed are one setting.
    """
    from flows.report.spread import signal_of_runs

    say(signal_of_runs(run, out, phases=phases))
