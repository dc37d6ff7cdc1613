"""The best round of a run, selected on the tuning captions, so that the test captions stay unused until the report."""

from stages.contract.declared_stages import EVALUATE
from stages.disk.policy_state import missing_files
from stages.params.record import Params
from stages.readings.metrics import evaluation_metrics, whole_evaluations
from stages.store.manifest import read_manifest
from stages.store.run import Run


def evaluated_rounds(run: Run, params: Params) -> list[int]:
    """Return the policy rounds that were evaluated during the run with its current parameters, in order."""
    split, parameters = params.evaluate.split, EVALUATE.parameters(params, 0)
    reached = min(run.num_finished, params.run.rounds)
    evaluated = [number for number, other in whole_evaluations(run) if other == split and number <= reached]
    manifests = {n: read_manifest(run.evaluation_folder(n, split), EVALUATE) for n in evaluated}
    return [n for n, manifest in manifests.items() if manifest and manifest["parameters"] == parameters]


def held_out_history(run: Run, params: Params) -> dict[int, dict[str, float]]:
    """Return the means of the evaluations during the run with its current parameters, by policy round.

    Raises:
        ValueError: If one of them is damaged.
    """
    folders = {n: run.evaluation_folder(n, params.evaluate.split) for n in evaluated_rounds(run, params)}
    return {n: evaluation_metrics(folder, params.evaluate.rewards) for n, folder in folders.items()}


def best_round(run: Run, params: Params, *, below: int | None = None) -> int:
    """Return the policy round with the highest mean of `evaluate.choose_by` on `evaluate.split`; 0 is the base.

    Of equal rounds the earliest; 0 if there is no evaluation with the current parameters. Pruned policies are
    skipped.

    Args:
        below: Only rounds before this one count; None: all.
    """
    return _best(run, params, range(run.num_finished + 1 if below is None else below)) or 0


def best_trained_round(run: Run, params: Params) -> int:
    """Return the best policy round except the base; the last round if none of them was evaluated."""
    last = min(run.num_finished, params.run.rounds)
    return _best(run, params, range(1, run.num_finished + 1)) or last


def _best(run: Run, params: Params, among: range) -> int | None:
    by = params.evaluate.choose_by
    history = {number: means[by] for number, means in held_out_history(run, params).items() if number in among}
    kept = [number for number in history if not missing_files(run.policy_folder(number))]
    return max(kept, key=lambda number: (history[number], -number), default=None)
