"""The command that tells what a run would do."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import Overrides, ParamsFile, checked

if TYPE_CHECKING:
    from flows.training.forecast import Forecast

planning = typer.Typer()


@planning.command()
def plan(
    params: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
    *,
    measure: Annotated[bool, typer.Option(help="Run a few rounds aside, for seconds, bytes and memory.")] = True,
    price: Annotated[float | None, typer.Option(min=0, help="Of an hour of the device, e.g. 2.5.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Tell what `g2rpo train` would do, after the same checks, and do nothing of it."""
    parsed = checked(params, overrides)
    from flows.training.forecast import forecast_run

    found = forecast_run(parsed, measure=measure)
    print(json.dumps(found.values(price), indent=1) if as_json else _told(found, price))


def _told(found: "Forecast", price: float | None) -> str:
    spent, values = found.evaluations, found.values(price)
    lines = [
        f"run          {found.run_key} ({found.folder})",
        f"rounds       {found.rounds_finished} are done, {found.rounds_to_do} to do, on {_devices(found)}",
        f"evaluations  {spent['rounds']:,} by the rounds, {spent['judging']:,} by the judging during them,",
        f"             {spent['final']:,} by the final one, {spent['best']:,} more if the best round is not the last",
    ]
    measured = found.measured
    if measured and found.seconds is not None and found.bytes_kept is not None:
        lines += [
            f"seconds      {found.seconds:,.0f}, a round {measured.round_seconds:.2f}; measured now on this machine",
            f"disk         {measured.round_bytes / 1e6:,.1f} MB a round, {found.bytes_kept / 1e6:,.0f} MB in all",
            f"memory       {measured.peak_bytes / 1e9:.2f} GB",
            f"hours        {values['device_hours']:.3f} of {'the device' if found.num_devices == 1 else 'all devices'}"
            + ("" if price is None else f", which cost {values['price']:.2f}"),
        ]
    lines += ["other than params.yaml:" if found.changed else "parameters   those of params.yaml"]
    return "\n".join(lines + [f"  {name}: {json.dumps(value)}" for name, value in found.changed.items()])


def _devices(found: "Forecast") -> str:
    return found.device if found.num_devices == 1 else f"{found.num_devices} runners, {found.device}"
