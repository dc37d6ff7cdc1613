"""Commands for the servers of this machine: up, status, down."""

import json
import os
import shlex
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import Overrides, ParamsFile, checked
from flows.cli.stopping import stoppable
from flows.common.escape import say

services = typer.Typer()


@services.command()
def up(
    params: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
    *,
    deploy: Annotated[
        bool, typer.Option("--deploy", help="Replace deployments that a configured Prefect API already has.")
    ] = False,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay in the foreground until the worker ends, e.g. in a container.")
    ] = False,
) -> None:
    """Start Prefect's server, MLflow's, the deployments of prefect.yaml and a worker, on the loopback.

    Services that run already stay as they are. A server configured elsewhere is used, and the deployments that it has
    already stay as they are without --deploy. All keep running when the terminal closes, until `g2rpo down`.
    """
    parsed = checked(params, overrides)
    from flows.common.login import login_file
    from flows.services.service import folder
    from flows.services.up import stay, up
    from stages.params.addresses import without_login

    started = up(parsed, Path.cwd(), lambda line: say(line, file=sys.stderr, flush=True), anew=deploy)
    say(f"Prefect  {without_login(started.prefect_api.removesuffix('/api'))}")
    say(f"MLflow   {without_login(started.mlflow)}")
    if started.login:
        say(f"login    {login_file()}: Prefect's page asks once for its line, MLflow's for its name and password")
    say(f"logs     {folder()}")
    say('\nTo use the commands of Prefect and MLflow in this terminal:  eval "$(g2rpo status --env)"')
    say("To train in the worker:  prefect deployment run train/demo")
    if foreground:
        with stoppable():
            stay()
    say("To stop all services:  g2rpo down")


@services.command()
def status(
    params: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
    *,
    env: Annotated[bool, typer.Option("--env", help="Print addresses and login as export lines for a shell.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Print which services run, where, and since when; exit with 1 if one that `g2rpo up` started has ended."""
    parsed = checked(params, overrides)
    from flows.common.environment import proxies
    from flows.services.service import stored
    from flows.services.up import NAMES, addresses
    from stages.params.addresses import without_login

    if env:
        running = addresses(parsed)
        if running is None:
            raise ValueError("Prefect and MLflow must be running, got neither or one. Run `g2rpo up` first.")
        direct = {name: os.environ[name] for name in ("no_proxy", "NO_PROXY") if proxies() and name in os.environ}
        for name, value in (running.variables | direct).items():
            say(f"export {name}={shlex.quote(value)}")
        return
    started = {name: stored(name) for name in NAMES}
    if as_json:
        rows = [asdict(s) | {"running": s.running} for s in started.values() if s]
        say(without_login(json.dumps(rows, indent=1)))
    else:
        for name, service in started.items():
            if service is None:
                say(f"{name:<8} was not started by g2rpo up")
            elif service.running:
                minutes = (time.time() - service.started_at) / 60
                say(f"{name:<8} has run for {minutes:.0f} minutes, process {service.pid}  {service.url}")
            else:
                say(f"{name:<8} has ended; see {service.log}; `g2rpo up` starts it again")
    if any(service and not service.running for service in started.values()):
        raise typer.Exit(1)


@services.command()
def down() -> None:
    """Stop the services that `g2rpo up` started; a flow run in progress stops too and can continue later."""
    from flows.services.up import down

    stopped = down()
    say(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")
