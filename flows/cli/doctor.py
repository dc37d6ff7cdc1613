"""The command that looks for what is wrong before a run is started."""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import Overrides, ParamsFile

if TYPE_CHECKING:
    from flows.doctor.check import Check

doctoring = typer.Typer()


@doctoring.command()
def doctor(
    params: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Look for what keeps a run from going well, and say what helps; exit with 1 if there is a fault."""
    found = _examined(params, overrides or [])
    if as_json:
        print(json.dumps([asdict(check) for check in found], indent=1))
    else:
        for check in found:
            print(f"{check.state:<5} {check.name}: {check.told}")
            if check.remedy and check.state != "ok":
                print(f"      {check.remedy}")
    if any(check.state == "fault" for check in found):
        raise typer.Exit(1)


def _examined(file: Path, overrides: list[str]) -> list["Check"]:
    """Return all that is found. Each look imports what it needs itself, so that a broken package is one fault."""
    from flows.doctor.check import Check, looked
    from flows.doctor.packages import packages

    found = looked("packages", packages)
    try:
        from stages.params.file import load_params

        parsed = load_params(file, overrides)
    except Exception as error:
        told = str(error).replace("\n", " ")
        return [*found, Check("parameters", "fault", told, "Correct them; the other looks need them.")]
    found.append(Check("parameters", "ok", f"{file} is valid"))
    from flows.doctor import cluster, machine, project, servers, store

    looks = {
        "device": partial(machine.device, parsed),
        "disk": partial(machine.disk, parsed),
        "cluster": partial(cluster.cluster, parsed),
        "runs": store.runs,
        "services": store.services,
        "prefect": servers.prefect,
        "mlflow": partial(servers.mlflow, parsed),
        "hub": partial(servers.hub, parsed),
        "project": project.versioning,
    }
    return [*found, *(check for name, look in looks.items() for check in looked(name, look))]
