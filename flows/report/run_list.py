"""The runs of the store, one line each."""

from typing import Any

from flows.report.published_methods import published
from stages.integrity.damage import num_marked
from stages.readings.best_round import best_round, held_out_history
from stages.readings.metrics import trained_rewards
from stages.store.lock import NoLocksError, held_by
from stages.store.run import Run, stored_runs
from stages.store.run_files import require_no_links


def listed() -> list[dict[str, Any]]:
    """Return a row for each run, the newest first; for a run that cannot be read, `state` says why."""
    rows = [_row(run) for run in stored_runs()]
    return sorted(rows, key=lambda row: row["created_at"], reverse=True)


def _row(run: Run) -> dict[str, Any]:
    try:
        return _whole(run)
    except (ValueError, KeyError, OSError) as error:
        return {"key": run.path.name, "state": f"cannot be read: {str(error).splitlines()[0]}", "created_at": 0.0}


def _whole(run: Run) -> dict[str, Any]:
    require_no_links(run.path)
    params, done = run.params(), run.num_finished
    history, metrics = held_out_history(run, params), run.metrics(max(0, done - 1))
    best, num_damaged = best_round(run, params), num_marked(run)
    hurt = f", {num_damaged} damaged" if num_damaged else ""
    return {
        "key": run.key,
        "method": published(params).name,
        "family": params.policy.family,
        "seed": params.run.seed,
        "rounds": done,
        "of": params.run.rounds,
        "state": _state(run, finished=done >= params.run.rounds) + hurt,
        "rewards": trained_rewards(metrics[-1]) if metrics else {},
        "best_round": best,
        "best": history.get(best, {}).get(params.evaluate.choose_by),
        "choose_by": params.evaluate.choose_by,
        "bytes": sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file()),
        "parent": run.parent and run.parent["key"],
        "created_at": run.about["created_at"],
    }


def _state(run: Run, *, finished: bool) -> str:
    """Return whether a process holds the run, and if not, how it ended; without locks nobody can tell."""
    ended = "finished" if finished else "stopped"
    try:
        holder = held_by(run.path)
    except NoLocksError:
        return f"{ended} or runs (its file system has no locks)"
    return f"runs, {holder}" if holder else ended
