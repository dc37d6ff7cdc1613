"""The best round of a run, chosen on the tuning captions, so that the test captions are left for the report."""

from stages.contract.declared_stages import EVALUATE
from stages.disk.policy_state import missing_files
from stages.params.record import Params
from stages.readings.metrics import evaluation_metrics, whole_evaluations
from stages.store.manifest import read_manifest
from stages.store.run import Run


def judged_alike(run: Run, params: Params) -> list[int]:
    """Return the policy rounds that have been judged during the run as it evaluates now, in order."""
    split, asked = params.evaluate.split, EVALUATE.parameters(params, 0)
    reached = min(run.num_finished, params.run.rounds)
    there = [number for number, of in whole_evaluations(run) if of == split and number <= reached]
    manifests = {n: read_manifest(run.evaluation_folder(n, split), EVALUATE) for n in there}
    return [n for n, manifest in manifests.items() if manifest and manifest["parameters"] == asked]


def held_out_history(run: Run, params: Params) -> dict[int, dict[str, float]]:
    """Return the means of the evaluations made during the run as it evaluates now, by policy round."""
    folders = {n: run.evaluation_folder(n, params.evaluate.split) for n in judged_alike(run, params)}
    return {n: evaluation_metrics(folder) for n, folder in folders.items()}


def best_round(run: Run, params: Params, *, below: int | None = None) -> int:
    """Return the policy round, 0 is the base, of the highest mean of `evaluate.choose_by` on `evaluate.split`.

    Of equal ones the earliest; 0 where no evaluation has been made as it is asked for now. A policy that has been
    let go is passed over.

    Args:
        below: Only rounds before this one count; None: all.
    """
    return _best(run, params, range(run.num_finished + 1 if below is None else below)) or 0


def best_trained_round(run: Run, params: Params) -> int:
    """Return the best policy round that is not the base; the last where none of them has been judged."""
    last = min(run.num_finished, params.run.rounds)
    return _best(run, params, range(1, run.num_finished + 1)) or last


def _best(run: Run, params: Params, among: range) -> int | None:
    by = params.evaluate.choose_by
    history = {number: means[by] for number, means in held_out_history(run, params).items() if number in among}
    kept = [number for number in history if not missing_files(run.policy_folder(number))]
    return max(kept, key=lambda number: (history[number], -number), default=None)
