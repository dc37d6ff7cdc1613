"""The command that compares methods."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.stopping import stoppable
from flows.common.escape import say

comparing = typer.Typer()


@comparing.command()
def compare(
    plan: Annotated[Path, typer.Option(help="The plan: methods, seeds, variants, budget.")] = Path(
        "presets/compare.yaml"
    ),
    out: Annotated[Path | None, typer.Option(help="Folder for the report. Default: outputs/compare/<plan>.")] = None,
) -> None:
    """Compare methods at an equal budget of transformer evaluations, over seeds: train missing runs, write a report.

    The runs are in the store: the same command continues after a stop and does not repeat finished runs.
    """
    with stoppable():
        from flows.compare.run import compare

        say(compare(plan, out))
