"""The end of a run by a guard: export its best round, and tell the user what happened and how to continue."""

from flows.common.endings import GuardStopError
from flows.export.policy import export_run
from flows.guards.finding import Finding
from stages.disk.root import store_root
from stages.params.record import Params
from stages.readings.best_round import best_round
from stages.readings.metrics import evaluation_metrics
from stages.store.run import Run


def ended(run: Run, params: Params, finding: Finding) -> GuardStopError:
    """Export the best round of a run that a guard has ended, and return the error with the message."""
    head = f"run {run.key} is stopped by the guard {finding.guard} after round {finding.policy_round}"
    if finding.guard == "disk":  # nothing more is written
        return GuardStopError(f"{head}.\n{finding.message}")
    best = best_round(run, params)
    earlier = best_round(run, params, below=finding.policy_round)
    lines = (f"{head}.", finding.message, *_export_best(run, params, best), *_remedies(run, finding, earlier))
    return GuardStopError("\n".join(lines))


def _export_best(run: Run, params: Params, best: int) -> list[str]:
    by, split = params.evaluate.choose_by, params.evaluate.split
    if best == 0:
        return [f"No round is better than the base by {by} on the {split} captions; nothing is exported."]
    out = store_root() / "exports" / f"{run.key[:8]}-r{best:04d}"
    if not out.is_dir():  # it exists if the same command ran before
        export_run(run.key, out, number=best)
    return [
        f"Its best round by {by} on the {split} captions is {best}, exported to {out}; read its README.md.",
        *_scores(run, params, best),
    ]


def _scores(run: Run, params: Params, best: int) -> list[str]:
    """Return a line with the rewards of base and best round on `report.split`, if both were evaluated there."""
    folders = [run.evaluation_folder(number, params.report.split) for number in (0, best)]
    if not all((folder / "evaluate.json").is_file() for folder in folders):
        return []
    before = evaluation_metrics(folders[0])
    after = evaluation_metrics(folders[1], before)
    means = ", ".join(f"{name} {value:.3f} -> {after[name]:.3f}" for name, value in before.items())
    return [f"On the {params.report.split} captions, base -> best round: {means}."]


def _remedies(run: Run, finding: Finding, earlier: int) -> list[str]:
    action = f"--set guards.{finding.guard}.action="
    rollback = [f"  to continue from round {earlier} with half the learning rate: {action}rollback"]
    return [
        "Run the same command again with",
        f"  to continue in spite of the guard: {action}warn",
        *([] if finding.guard == "time" else rollback),
        f"To inspect the run: g2rpo report --run {run.key[:8]}",
    ]
