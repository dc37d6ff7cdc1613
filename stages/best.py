"""The best round of a run, chosen on the tuning captions, so that the test captions are left for the report."""

from stages.manifest import read_manifest
from stages.metrics import evaluation_metrics
from stages.params import Params
from stages.registry import EVALUATE
from stages.store import Run


def held_out_history(run: Run, params: Params) -> dict[int, dict[str, float]]:
    """Return the means of the evaluations made during the run as it evaluates now, by policy round."""
    split = params.evaluate.split
    folders = {n: run.evaluation_folder(n, split) for n in range(min(run.num_finished, params.run.rounds) + 1)}
    asked = EVALUATE.parameters(params, 0)
    manifests = {n: read_manifest(path, EVALUATE) for n, path in folders.items()}
    alike = [n for n, manifest in manifests.items() if manifest and manifest["parameters"] == asked]
    return {n: evaluation_metrics(folders[n]) for n in alike}


def best_round(run: Run, params: Params) -> int:
    """Return the policy round, 0 is the base, of the highest mean of `evaluate.choose_by` on `evaluate.split`.

    Of equal ones the earliest; 0 where no evaluation has been made as it is asked for now.
    """
    history = held_out_history(run, params)
    return max(history, key=lambda number: (history[number][params.evaluate.choose_by], -number), default=0)
