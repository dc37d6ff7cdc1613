"""`g2rpo compare`: finish every run of a plan, several at a time, and write the report."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from flows.compare.comparison import Comparison
from flows.compare.plan_processes import PlanProcesses, RunFailedError
from flows.compare.progress import Progress
from flows.compare.report import write_report
from flows.compare.stored import Measured, Placed, measured
from flows.tracking.recordable import require_tracking


def compare(path: Path, out: Path | None) -> str:
    """Finish every run of a plan, and write the report; return a message for the user.

    Args:
        path: The plan.
        out: Folder of the report; None is outputs/compare/<name of the plan>.

    Raises:
        ValueError: If the plan is not valid, or a run fails; the report then shows the other runs.
    """
    comparison = Comparison.of(path)
    runs = {placed.key: measured(placed) for placed in comparison.runs}
    missing = [placed for placed in comparison.runs if runs[placed.key] is None]
    progress = Progress(comparison, len(missing))
    if missing:
        _bring(comparison, missing, progress)
        runs |= {placed.key: measured(placed) for placed in missing}
    folder = out or Path("outputs/compare") / comparison.name
    whole = [each for each in runs.values() if each is not None]
    if whole:
        write_report(comparison, whole, folder)
    if progress.failed:
        raise ValueError(_failures(progress, whole, folder))
    return f"{folder / 'report.html'}"


def bring_plainly(comparison: Comparison, missing: Sequence[Placed], progress: Progress) -> None:
    """Finish runs without Prefect."""
    number = min(comparison.plan.processes, len(missing))
    with ThreadPoolExecutor(number) as threads, PlanProcesses(number) as processes:
        futures = {threads.submit(processes.run, comparison.task(placed)): placed for placed in missing}
        for future in as_completed(futures):
            try:
                progress.succeeded(futures[future], future.result())
            except RunFailedError as error:
                progress.failed_with(futures[future], str(error))


def _bring(comparison: Comparison, missing: Sequence[Placed], progress: Progress) -> None:
    from flows.common.servers import prefect_api, require_prefect

    require_tracking(missing[0].cell.params)
    api = prefect_api()
    if api:
        require_prefect(api)
        from flows.compare.prefect_flow import bring_as_flow

        bring_as_flow(comparison, missing, progress)
    else:
        bring_plainly(comparison, missing, progress)


def _failures(progress: Progress, whole: Sequence[Measured], folder: Path) -> str:
    failed = "\n".join(f"  {name}: {error}" for name, error in progress.failed.items())
    rest = f"The report in {folder} shows the {len(whole)} others." if whole else "There is no report."
    return (
        f"Every run of the plan must finish, {len(progress.failed)} failed:\n{failed}\n{rest} Fix "
        "the causes, then run the same command again: finished runs are kept."
    )
