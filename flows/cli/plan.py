"""The command that forecasts a run."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import Overrides, ParamsFile, checked
from flows.common.escape import say

if TYPE_CHECKING:
    from flows.training.forecast import Forecast

planning = typer.Typer()


@planning.command()
def plan(
    params: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
    *,
    measure: Annotated[bool, typer.Option(help="Measure seconds, bytes and memory in a few rounds.")] = True,
    price: Annotated[float | None, typer.Option(min=0, help="Price of one device hour, e.g. 2.5.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Print what `g2rpo train` would do, after the same checks, without starting a run."""
    parsed = checked(params, overrides)
    from flows.training.forecast import forecast_run

    forecast = forecast_run(parsed, measure=measure)
    say(json.dumps(forecast.values(price), indent=1) if as_json else _text(forecast, price))


def _text(forecast: "Forecast", price: float | None) -> str:
    spent, values = forecast.evaluations, forecast.values(price)
    lines = [
        f"run          {forecast.run_key} ({forecast.folder})",
        f"rounds       {forecast.rounds_finished} are done, {forecast.rounds_to_do} to do, on {_devices(forecast)}",
        f"evaluations  {spent['rounds']:,} by the rounds, {spent['judging']:,} by the evaluations during them,",
        f"             {spent['final']:,} by the final one, {spent['best']:,} more if the best round is not the last",
    ]
    measured, seconds = forecast.measured, forecast.seconds
    if measured and seconds is not None and forecast.bytes_kept is not None:
        devices = "the device" if forecast.num_devices == 1 else "all devices"
        lines += [
            f"seconds      {seconds:,.0f}, {measured.round_seconds:.2f} per round; measured now on this machine",
            f"disk         {measured.round_bytes / 1e6:,.1f} MB per round, {forecast.bytes_kept / 1e6:,.0f} MB in all",
            f"memory       {measured.peak_bytes / 1e9:.2f} GB",
            f"hours        {values['device_hours']:.3f} of {devices}"
            + ("" if price is None else f", which cost {values['price']:.2f}"),
        ]
    lines += ["changes to params.yaml:" if forecast.changed else "parameters   those of params.yaml"]
    return "\n".join(lines + [f"  {name}: {json.dumps(value)}" for name, value in forecast.changed.items()])


def _devices(forecast: "Forecast") -> str:
    return forecast.device if forecast.num_devices == 1 else f"{forecast.num_devices} runners, {forecast.device}"
