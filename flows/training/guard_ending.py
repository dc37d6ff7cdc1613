"""The end of a run by a guard: its best round is exported, and a person is told what happened and how to go on."""

from flows.common.endings import GuardStopError
from flows.export.policy import export_run
from flows.guards.finding import Finding
from stages.disk.root import store_root
from stages.params.record import Params
from stages.readings.best_round import best_round
from stages.readings.metrics import evaluation_metrics
from stages.store.run import Run


def ended(run: Run, params: Params, finding: Finding) -> GuardStopError:
    """Export the best round of a run that a guard has ended, and return what to tell of it."""
    head = f"run {run.key} is stopped by the guard {finding.guard} after round {finding.policy_round}"
    if finding.guard == "disk":  # nothing more is written
        return GuardStopError(f"{head}.\n{finding.told}")
    best = best_round(run, params)
    again = best_round(run, params, below=finding.policy_round)
    lines = (f"{head}.", finding.told, *_kept(run, params, best), *_how_to_go_on(run, finding, again))
    return GuardStopError("\n".join(lines))


def _kept(run: Run, params: Params, best: int) -> list[str]:
    by, split = params.evaluate.choose_by, params.evaluate.split
    if best == 0:
        return [f"No round is better than the base by {by} on the {split} captions; nothing is exported."]
    out = store_root() / "exports" / f"{run.key[:8]}-r{best:04d}"
    if not out.is_dir():  # else by the same command, given before
        export_run(run.key, out, number=best)
    return [
        f"Its best round by {by} on the {split} captions is {best}, exported to {out}; read its README.md.",
        *_judged(run, params, best),
    ]


def _judged(run: Run, params: Params, best: int) -> list[str]:
    """Return how base and best round do on captions that nothing was chosen by, if they were judged there."""
    folders = [run.evaluation_folder(number, params.report.split) for number in (0, best)]
    if not all((folder / "evaluate.json").is_file() for folder in folders):
        return []
    before, after = map(evaluation_metrics, folders)
    means = ", ".join(f"{name} {value:.3f} -> {after[name]:.3f}" for name, value in before.items())
    return [f"On the {params.report.split} captions, from the base to it: {means}."]


def _how_to_go_on(run: Run, finding: Finding, again: int) -> list[str]:
    action = f"--set guards.{finding.guard}.action="
    more = [f"  on from round {again} with half the learning rate: {action}rollback"]
    return [
        "The same command goes on with",
        f"  on all the same: {action}warn",
        *([] if finding.guard == "time" else more),
        f"To look at it: g2rpo report --run {run.key[:8]}",
    ]
