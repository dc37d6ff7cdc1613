"""Prefect: a plan as the flow `compare`, with one task per run, which waits for the run's process."""

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

from prefect import Task, flow
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.common.unforeseen import name_errors_in_one_line
from flows.compare.comparison import Comparison
from flows.compare.plan_processes import PlanProcesses, RunFailedError
from flows.compare.progress import Progress
from flows.compare.stored import Placed


def bring_as_flow(comparison: Comparison, missing: Sequence[Placed], progress: Progress) -> None:
    """Finish runs as tasks with their names, e.g. `mix_grpo-two-rewards-s101`.

    A run that fails is a failed task, and the flow fails; the other runs continue to their end.
    """
    name_errors_in_one_line()
    number = min(comparison.plan.processes, len(missing))

    def body() -> None:
        with PlanProcesses(number) as processes:
            futures = {_submitted(processes, comparison, placed): placed for placed in missing}
            for future in as_completed(list(futures)):
                try:
                    progress.succeeded(futures[future], future.result())
                except RunFailedError as error:
                    progress.failed_with(futures[future], str(error))
        title = f"The runs of {comparison.path}"
        create_table_artifact(progress.rows, key=_key(comparison.name), description=title)
        if progress.failed:
            raise RunFailedError(f"{len(progress.failed)} of {len(missing)} runs failed: {'; '.join(progress.failed)}")

    runner: Any = ThreadPoolTaskRunner(max_workers=number)
    named = flow(name="compare", flow_run_name=f"compare-{comparison.name}", task_runner=runner)
    try:
        named(body)()
    except RunFailedError:
        if not progress.failed:  # the command reports these at its end
            raise


def _submitted(processes: PlanProcesses, comparison: Comparison, placed: Placed) -> PrefectFuture[float]:
    task = Task(
        fn=partial(processes.run, comparison.task(placed)),
        name="run",
        task_run_name=placed.cell.slug,
        cache_policy=NO_CACHE,
        persist_result=False,
    )
    return task.submit()


def _key(name: str) -> str:
    """Return the key of an artifact: lower case, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", f"compare-{name.lower()}").strip("-")
