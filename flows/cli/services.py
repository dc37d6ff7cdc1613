"""Commands for the servers of this machine: up, status, down."""

import json
import shlex
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import Overrides, ParamsFile, checked

services = typer.Typer()


@services.command()
def up(
    params: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
    *,
    deploy: Annotated[
        bool, typer.Option("--deploy", help="Deploy anew what a configured Prefect API has already, from this folder.")
    ] = False,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay until the worker ends or is stopped, as a container wants it.")
    ] = False,
) -> None:
    """Start Prefect's server, MLflow's, the deployments of prefect.yaml and a worker, on the loopback.

    What runs already is left as it is; a server that is configured elsewhere is used, and what others have deployed to
    it stays as it is unless --deploy is given. They go on when the terminal is closed, until `g2rpo down`.
    """
    parsed = checked(params, overrides)
    from flows.services.service import folder
    from flows.services.up import stay, up

    found = up(parsed, Path.cwd(), lambda line: print(line, file=sys.stderr, flush=True), anew=deploy)
    print(f"Prefect  {found.prefect_api.removesuffix('/api')}")
    print(f"MLflow   {found.mlflow}")
    print(f"logs     {folder()}")
    print('\nFor the commands of Prefect and MLflow in this terminal:  eval "$(g2rpo status --env)"')
    print("To train by the worker:  prefect deployment run train/demo")
    if foreground:
        stay()
    print("To stop all of it:  g2rpo down")


@services.command()
def status(
    params: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
    *,
    env: Annotated[bool, typer.Option("--env", help="Print the addresses as exports for a shell.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Say which of them run, where, and since when; exit with 1 if one that was started has ended."""
    parsed = checked(params, overrides)
    from flows.services.service import stored
    from flows.services.up import NAMES, addresses

    if env:
        found = addresses(parsed)
        if found is None:
            raise ValueError("Prefect and MLflow must be running, got neither or one. Give `g2rpo up` first.")
        for name, value in found.environment.items():
            print(f"export {name}={shlex.quote(value)}")
        return
    there = {name: stored(name) for name in NAMES}
    if as_json:
        print(json.dumps([asdict(s) | {"running": s.running} for s in there.values() if s], indent=1))
    else:
        for name, service in there.items():
            if service is None:
                print(f"{name:<8} was not started by g2rpo up")
            elif service.running:
                minutes = (time.time() - service.started_at) / 60
                print(f"{name:<8} runs since {minutes:.0f} minutes, process {service.pid}  {service.url}")
            else:
                print(f"{name:<8} has ended; see {service.log}; `g2rpo up` starts it again")
    if any(service and not service.running for service in there.values()):
        raise typer.Exit(1)


@services.command()
def down() -> None:
    """Stop what `g2rpo up` has started; a flow run in progress is stopped with its worker and can go on later."""
    from flows.services.up import down

    stopped = down()
    print(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")
