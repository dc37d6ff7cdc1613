"""The final evaluation of a run: base, best and last policy on `report.split`, outside the run's own folder."""

from pathlib import Path

from flows.observers.observer import Evaluated
from flows.report.final import FinalEvaluations, Report, measure, write_report
from flows.runners.choice import at_work, executor_for
from flows.tracking.observer import MlflowObserver
from flows.tracking.recordable import require_tracking
from stages.contract.declared_stages import EVALUATE
from stages.disk.files import write_json
from stages.engine.execute import execute
from stages.params.record import Params, for_report
from stages.sources.rewards import check_rewards
from stages.store.adopted import require_named
from stages.store.base_weights import require_base
from stages.store.run import Run, find_run
from stages.texts.held_out import held_out


def evaluate_run(name: str, chosen: Params, out: Path) -> str:
    """Evaluate the base, the best and the last policy of a run, write tables and metrics.json, and log them to MLflow.

    Args:
        name: The run's key, or a folder that holds it.
        chosen: Their sections `evaluate`, `report` and `tracking` replace those of the run.
        out: Folder for `base/`, `aligned/`, `metrics.json`, and `best/` if neither base nor last policy is the best.

    Raises:
        ValueError: If a reward or prompts are missing, or the run has no finished round.
    """
    run = find_run(name)
    params = _with_sections_of(run, chosen)
    last = min(run.num_finished, params.run.rounds)
    if last == 0:
        raise ValueError(f"Run {run.key} must have finished a round, got none. Train it first.")
    executor = executor_for(params)
    check_rewards(params, params.evaluate.rewards)
    require_base(run, params)
    by = for_report(params)
    held_out(by)
    require_tracking(params)
    evaluations = FinalEvaluations.outside(run, params, out)
    tracker = MlflowObserver(params)
    tracker.show(run)
    with at_work(executor):
        for policy_round, folder in evaluations.all(last).items():
            policy = {"policy": run.policy_folder(policy_round)}
            execute(EVALUATE, folder, policy, by, executor, number=policy_round)
            tracker.evaluated(Evaluated(policy_round, by.evaluate.split, folder))
    report = measure(run, params, evaluations)
    means = {"base": report.base, "aligned": report.aligned, "best": report.best}
    details = {name: report.details[name] for name in ("rounds", "best_round", "evaluations")}
    write_json(out / "metrics.json", means | details)
    columns = "base -> aligned" + (
        f"; best, after {evaluations.best_round} rounds" if evaluations.best_round != last else ""
    )
    return f"run {run.key} after {last} rounds, {report.details['split']} captions, {columns}:\n{_means(report)}"


def report_run(name: str, chosen: Params, evaluation: Path | None, out: Path) -> str:
    """Write the report of a run, and return its path.

    Args:
        name: The run's key, or a folder that holds it.
        chosen: As in `evaluate_run`.
        evaluation: Folder that `evaluate_run` wrote; None takes the final evaluation within the run.
        out: Folder of the report.

    Raises:
        ValueError: If the run has not been evaluated on `report.split`.
    """
    run = find_run(name)
    params = _with_sections_of(run, chosen)
    evaluations = FinalEvaluations.outside(run, params, evaluation) if evaluation else None
    evaluations = evaluations or FinalEvaluations.within(run, params)
    for folder in (evaluations.base, evaluations.aligned, evaluations.best):
        if not (folder / "evaluate.json").is_file():
            raise ValueError(
                f"Run {run.key} must have been evaluated on the {params.report.split} captions, got no evaluation in "
                f"{folder}. Run `g2rpo evaluate --run {run.key} --out D`, then pass --evaluation D."
            )
    write_report(run, params, evaluations, out)
    return f"{out / 'report.html'}"


def _means(report: Report) -> str:
    """Return one line per reward: base and last policy, and the best policy if it is neither."""
    other = report.details["best_round"] != report.details["rounds"]
    return "\n".join(
        f"  {name}: {value:.3f} -> {report.aligned[name]:.3f}" + (f"; {report.best[name]:.3f}" if other else "")
        for name, value in report.base.items()
    )


def _with_sections_of(run: Run, chosen: Params) -> Params:
    sections = {name: getattr(chosen, name) for name in ("evaluate", "report", "tracking")}
    params = run.params().model_copy(update=sections)
    require_named(run.path, params, by=chosen)
    return params
