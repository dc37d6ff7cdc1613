"""Commands for the runs of the store: list, diff, stop, logs."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.options import RunKey
from flows.common.escape import cell, say

runs = typer.Typer()


@runs.command("list")
def list_runs(as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """List the runs of the store, the newest first."""
    from flows.report.run_list import listed
    from stages.disk.root import store_root

    rows = listed()
    if as_json:
        say(json.dumps(rows, indent=1))
    elif rows:
        _print_table(rows)
    else:
        say(f"no runs in {store_root()}; `g2rpo train` starts one")


@runs.command()
def stop(
    run: RunKey,
    now: Annotated[bool, typer.Option("--now", help="Stop at once, by SIGTERM, not at the end of the stage.")] = False,
) -> None:
    """Stop a run in another process; the command that started it continues it later."""
    from flows.training.stop_request import ask_to_stop

    say(ask_to_stop(run, now=now))


@runs.command()
def logs(
    run: Annotated[str | None, typer.Option("--run", help="The run's key or a prefix of it.")] = None,
    service: Annotated[str | None, typer.Option(help="prefect, mlflow or worker, if `g2rpo up` started it.")] = None,
    lines: Annotated[int, typer.Option(min=1, help="Number of last lines to print.")] = 40,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing new lines until the run ends.")] = False,
) -> None:
    """Print the log of a run or of a service."""
    if (run is None) == (service is None):
        raise ValueError("Either --run or --service is required, got both or neither. Example: --run 3fa9.")
    from flows.observers.run_log import lines_of, log_path
    from flows.services.service import folder
    from stages.store.lock import held_by
    from stages.store.run import find_run

    named = find_run(run) if run else None
    path = log_path(named.key) if named else folder() / f"{service}.log"
    try:
        for line in lines_of(path, lines, follow=(lambda: not named or bool(held_by(named.path))) if follow else None):
            say(line, flush=follow)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@runs.command()
def diff(
    one: Annotated[str, typer.Argument(help="A run's key, a prefix of it, its folder, or newest.")],
    other: Annotated[str, typer.Argument(help="The other run, in the same form.")],
    out: Annotated[Path, typer.Option(help="Folder for the page and its picture.")] = Path("outputs/diff"),
) -> None:
    """Compare two runs: parameters that differ, curves, final figures; print them and write a page."""
    from flows.report.diff import compared

    say(compared((one, other), out))


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("run", "method", "seed", "rounds", "state", "trained reward", "best", "size", "began"):
        table.add_column(column, no_wrap=column in ("run", "rounds", "began"))
    for row in rows:
        if "rounds" not in row:
            table.add_row(*map(cell, (row["key"], "", "", "", row["state"])))
            continue
        best = "" if row["best"] is None else f"{row['choose_by']} {row['best']:.3f} after {row['best_round']}"
        values = (
            row["key"] + (f" (of {row['parent'][:8]})" if row["parent"] else ""),
            f"{row['method']} {row['family']}",
            str(row["seed"]),
            f"{row['rounds']}/{row['of']}",
            row["state"],
            " ".join(f"{name} {value:.3f}" for name, value in row["rewards"].items()),
            best,
            f"{row['bytes'] / 1e6:.0f} MB",
            f"{datetime.fromtimestamp(row['created_at']).astimezone():%Y-%m-%d %H:%M}",
        )
        table.add_row(*map(cell, values))
    Console(width=max(120, Console().width)).print(table)
