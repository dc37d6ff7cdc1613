"""Prune finished rounds: latents and policies, never scores, advantages, updates or metrics."""

import shutil
from pathlib import Path

from stages.disk.files import writing
from stages.disk.policy_state import STATE, policy_state
from stages.params.record import Params
from stages.store.manifest import LATENTS, PRUNABLE, pruned_outputs, write_tombstone
from stages.store.run import Run


def prune(run: Run, params: Params) -> int:
    """Remove the latents and policies that `retention.rounds` does not keep; return the number of freed bytes.

    The last `retention.rounds` finished rounds keep everything; earlier ones keep their policy if
    `evaluate.every` evaluates it. A tombstone lists the pruned outputs and is written first, so the run still verifies.
    """
    kept = rounds_kept(params)
    return 0 if kept is None else sum(_prune_round(run, n, params) for n in range(run.num_finished - kept))


def rounds_kept(params: Params) -> int | None:
    """Return how many of the last rounds keep everything; None: all. With staleness an older policy still samples."""
    rounds = params.retention.rounds
    return None if rounds is None else rounds + params.placement.staleness


def _prune_round(run: Run, number: int, params: Params) -> int:
    folder = run.round_folder(number)
    evaluated = (number + 1) % params.evaluate.every == 0
    outputs = frozenset(LATENTS if evaluated else PRUNABLE)
    files = [path for name in sorted(outputs) for path in _files(folder / name)]
    if not files:
        return 0
    write_tombstone(folder, outputs | pruned_outputs(folder))
    freed = sum(path.stat().st_size for path in files)
    with writing(folder):
        for path in files:
            path.unlink()
        for name in LATENTS:
            shutil.rmtree(folder / name, ignore_errors=True)
    return freed


def _files(folder: Path) -> list[Path]:
    """Return the files to remove: shards; of a policy the files that state.json names, not state.json itself."""
    if folder.name == "policy":
        if not (folder / STATE).is_file():
            return []  # it is damaged
        return [folder / name for name in policy_state(folder).files if (folder / name).is_file()]
    return sorted(path for path in folder.glob("*") if path.is_file())
