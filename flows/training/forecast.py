"""What a run would do, told before it is started: evaluations, bytes, seconds, memory, GPU-hours and their price."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.training.measured_rounds import MeasuredRounds, try_out
from flows.training.session import ready
from stages.contract.declared_stages import EVALUATE
from stages.engine.execute import is_done
from stages.params.file import load_params
from stages.params.record import Params, for_report
from stages.readings.budget import judging_evaluations, round_evaluations
from stages.store.fingerprint import Fingerprint
from stages.store.manifest import LATENTS, PRUNABLE
from stages.store.retention import rounds_kept
from stages.store.run import Run, run_of


@dataclass(frozen=True)
class Forecast:
    """What is left to do of a run."""

    run_key: str
    folder: Path
    device: str
    num_devices: int
    """Of the runners; 1 where all stages run in one process."""
    rounds_finished: int
    rounds_to_do: int
    changed: dict[str, Any]
    """Parameters that are not those of params.yaml, as `section.key`."""
    evaluations: dict[str, int]
    """Transformer evaluations: of the rounds, of the judging during the run, and of the final one, which judges base
    and last, and the best round where that is another."""
    measured: MeasuredRounds | None
    bytes_kept: int | None
    """Of all rounds together once retention has let go, without evaluations."""

    @property
    def seconds(self) -> float | None:
        """Of what is left, from measured rounds; None without them."""
        if self.measured is None:
            return None
        judged = self.evaluations["judging"] + self.evaluations["final"]
        rounds = self.rounds_to_do * self.measured.round_seconds
        return self.measured.start_seconds + rounds + judged * self.measured.seconds_an_evaluation

    def values(self, price: float | None) -> dict[str, Any]:
        """Return it as JSON has it.

        Args:
            price: Of an hour of the device, in a currency of one's own.
        """
        hours = None if self.seconds is None else self.seconds / 3600 * self.num_devices
        measured = self.measured
        return {
            "run_key": self.run_key,
            "folder": str(self.folder),
            "device": self.device,
            "num_devices": self.num_devices,
            "rounds_finished": self.rounds_finished,
            "rounds_to_do": self.rounds_to_do,
            "changed": self.changed,
            "evaluations": self.evaluations,
            "round_bytes": measured and measured.round_bytes,
            "run_bytes": self.bytes_kept,
            "peak_bytes": measured and measured.peak_bytes,
            "round_seconds": measured and round(measured.round_seconds, 3),
            "seconds": None if self.seconds is None else round(self.seconds, 1),
            "device_hours": hours and round(hours, 4),
            "price": None if hours is None or price is None else round(hours * price, 2),
        }


def forecast_run(params: Params, *, measure: bool) -> Forecast:
    """Return what `g2rpo train` would do with these parameters, after the same checks. Nothing is written to the store.

    Args:
        params: The parameters.
        measure: Whether a few rounds are run in a folder of their own, to know seconds, bytes and memory.

    Raises:
        ValueError: As `g2rpo train` would.
    """
    device, rounds = ready(params).device.type, params.run.rounds
    run = run_of(Fingerprint.of(params, device))
    finished = min(run.num_finished, rounds)
    measured = try_out(params) if measure else None
    return Forecast(
        run_key=run.path.name,
        folder=run.path,
        device=device,
        num_devices=params.placement.num_devices,
        rounds_finished=finished,
        rounds_to_do=rounds - finished,
        changed=_changed(params),
        evaluations={
            "rounds": sum(round_evaluations(params, number) for number in range(finished, rounds)),
            "judging": _judging(run, params, _due(params)),
            "final": _judging(run, for_report(params), (0, rounds)),
            "best": judging_evaluations(for_report(params)),
        },
        measured=measured,
        bytes_kept=_kept(params, measured.output_bytes) if measured else None,
    )


def _due(params: Params) -> Sequence[int]:
    rounds, every = params.run.rounds, params.evaluate.every
    return sorted({*range(0, rounds + 1, every), rounds})


def _judging(run: Run, by: Params, policy_rounds: Sequence[int]) -> int:
    """Return the evaluations of the judgings that are not done."""
    new = not (run.path / "run.json").is_file()
    left = [n for n in policy_rounds if new or n > run.num_finished or not is_done(run, EVALUATE, n, by)]
    return len(left) * judging_evaluations(by)


def _kept(params: Params, sizes: dict[str, int]) -> int:
    """Return the bytes of the rounds that are left once retention has let go."""
    rounds, keep = params.run.rounds, rounds_kept(params)
    whole = sum(sizes.values())
    total = 0
    for number in range(rounds):
        if keep is None or number >= rounds - keep:
            total += whole
        else:
            judged = (number + 1) % params.evaluate.every == 0
            total += whole - sum(sizes[name] for name in (LATENTS if judged else PRUNABLE))
    return total


def _changed(params: Params) -> dict[str, Any]:
    """Return the parameters that are not those of params.yaml, if there is one here."""
    shipped = Path("params.yaml")
    if not shipped.is_file():
        return {}
    usual, chosen = (of.model_dump(mode="json") for of in (load_params(shipped), params))
    return {
        f"{section}.{key}": value
        for section, keys in chosen.items()
        for key, value in keys.items()
        if usual[section].get(key, ...) != value
    }
