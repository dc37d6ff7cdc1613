"""The command that finds faults before a run starts."""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import Overrides, ParamsFile
from flows.common.escape import say

if TYPE_CHECKING:
    from flows.doctor.check import Check

doctoring = typer.Typer()


@doctoring.command()
def doctor(
    params: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Check packages, parameters, machine, store and servers, and suggest remedies; exit with 1 if there is a fault."""
    checks = _run_checks(params, overrides or [])
    if as_json:
        say(json.dumps([asdict(check) for check in checks], indent=1))
    else:
        for check in checks:
            say(f"{check.state:<5} {check.name}: {check.message}")
            if check.remedy and check.state != "ok":
                say(f"      {check.remedy}")
    if any(check.state == "fault" for check in checks):
        raise typer.Exit(1)


def _run_checks(file: Path, overrides: list[str]) -> list["Check"]:
    """Run all checks. Each imports what it needs itself, so that a broken package is one fault."""
    from flows.doctor.check import Check, looked
    from flows.doctor.packages import packages

    checks = looked("packages", packages)
    try:
        from stages.params.file import load_params

        parsed = load_params(file, overrides)
    except Exception as error:
        message = str(error).replace("\n", " ")
        return [*checks, Check("parameters", "fault", message, "Correct them; the other checks need them.")]
    checks.append(Check("parameters", "ok", f"{file} is valid"))
    from flows.doctor import cluster, environment, machine, project, servers, store

    others = {
        "environment": environment.environment,
        "device": partial(machine.device, parsed),
        "disk": partial(machine.disk, parsed),
        "cluster": partial(cluster.cluster, parsed),
        "locks": store.locks,
        "runs": store.runs,
        "services": store.services,
        "prefect": servers.prefect,
        "mlflow": partial(servers.mlflow, parsed),
        "hub": partial(servers.hub, parsed),
        "project": project.versioning,
    }
    return [*checks, *(check for name, look in others.items() for check in looked(name, look))]
