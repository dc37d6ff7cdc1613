"""The cost of a run before it starts: evaluations, bytes, seconds, memory, GPU-hours and their price."""

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
from stages.readings.budget import evaluation_cost, round_evaluations
from stages.store.fingerprint import Fingerprint
from stages.store.manifest import LATENTS, PRUNABLE
from stages.store.retention import rounds_kept
from stages.store.run import Run, run_of


@dataclass(frozen=True)
class Forecast:
    """The remaining cost of a run."""

    run_key: str
    folder: Path
    device: str
    num_devices: int
    """Devices of the runners; 1 if all stages run in one process."""
    rounds_finished: int
    rounds_to_do: int
    changed: dict[str, Any]
    """Parameters that differ from params.yaml, as `section.key`."""
    evaluations: dict[str, int]
    """Transformer evaluations: `rounds`; `judging`, the evaluations during the run; `final`, that of base and last
    policy; `best`, that of the best policy if it is neither."""
    measured: MeasuredRounds | None
    bytes_kept: int | None
    """Bytes of all rounds after retention has pruned them, without evaluations."""

    @property
    def seconds(self) -> float | None:
        """Seconds that remain, from measured rounds; None without them."""
        if self.measured is None:
            return None
        evaluations = self.evaluations["judging"] + self.evaluations["final"]
        rounds = self.rounds_to_do * self.measured.round_seconds
        return self.measured.start_seconds + rounds + evaluations * self.measured.seconds_an_evaluation

    def values(self, price: float | None) -> dict[str, Any]:
        """Return the forecast as a JSON object.

        Args:
            price: Price of one device for one hour, in any currency.
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
    """Return the cost of `g2rpo train` with these parameters, after the same checks. It writes nothing to the store.

    Args:
        params: The parameters.
        measure: Whether to run a few rounds in a temporary folder, to measure seconds, bytes and memory.

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
            "judging": _evaluation_cost(run, params, _evaluated_rounds(params)),
            "final": _evaluation_cost(run, for_report(params), (0, rounds)),
            "best": evaluation_cost(for_report(params)),
        },
        measured=measured,
        bytes_kept=_bytes_kept(params, measured.output_bytes) if measured else None,
    )


def _evaluated_rounds(params: Params) -> Sequence[int]:
    rounds, every = params.run.rounds, params.evaluate.every
    return sorted({*range(0, rounds + 1, every), rounds})


def _evaluation_cost(run: Run, by: Params, policy_rounds: Sequence[int]) -> int:
    """Return the transformer evaluations that evaluating these policy rounds still takes."""
    new = not (run.path / "run.json").is_file()
    left = [n for n in policy_rounds if new or n > run.num_finished or not is_done(run, EVALUATE, n, by)]
    return len(left) * evaluation_cost(by)


def _bytes_kept(params: Params, sizes: dict[str, int]) -> int:
    """Return the bytes of all rounds after retention has pruned them."""
    rounds, keep = params.run.rounds, rounds_kept(params)
    whole = sum(sizes.values())
    total = 0
    for number in range(rounds):
        if keep is None or number >= rounds - keep:
            total += whole
        else:
            evaluated = (number + 1) % params.evaluate.every == 0
            total += whole - sum(sizes[name] for name in (LATENTS if evaluated else PRUNABLE))
    return total


def _changed(params: Params) -> dict[str, Any]:
    """Return the parameters that differ from params.yaml; none if the current folder has no params.yaml."""
    shipped = Path("params.yaml")
    if not shipped.is_file():
        return {}
    default, own = (tree.model_dump(mode="json") for tree in (load_params(shipped), params))
    return {
        f"{section}.{key}": value
        for section, keys in own.items()
        for key, value in keys.items()
        if default[section].get(key, ...) != value
    }
