"""The command that compares methods."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.stopping import stoppable

comparing = typer.Typer()


@comparing.command()
def compare(
    plan: Annotated[Path, typer.Option(help="The plan: methods, seeds, variants, budget.")] = Path(
        "presets/compare.yaml"
    ),
    out: Annotated[Path | None, typer.Option(help="Folder of the report. [default: outputs/compare/<plan>]")] = None,
) -> None:
    """Compare methods at an equal budget of transformer evaluations, over seeds: train what lacks, write the report.

    Every run is one of the store: the same command goes on where it was stopped, and what is done is not done again.
    """
    from flows.compare.run import compare

    with stoppable():
        print(compare(plan, out))
