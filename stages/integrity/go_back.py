"""Marks later rounds of a run as unfinished when the policy after them is lost."""

import shutil

from stages.contract.declared_stages import STAGES
from stages.disk.files import writing
from stages.store.manifest import manifest_path, pruned_outputs, tombstone_path, write_tombstone
from stages.store.run import Run

_LATER = ("rollout", "update")
_NEEDED = frozenset(output for name in _LATER for output in STAGES[name].outputs)
"""The training inputs and results of a round; if they are pruned, the run makes them again."""


def go_back(run: Run, rounds: int) -> None:
    """Set the number of finished rounds of a run; later rounds keep their tables, and the run continues with them.

    A later stage with the same inputs counts as done. The metrics of later rounds and the evaluations of their policies
    are deleted, since they may change. If it is killed, a second call ends with the same result.

    Raises:
        StoreWriteError: If the store cannot be written to.
    """
    finished = run.num_finished
    for number in range(rounds, finished):
        _unbury(run, number)
    with writing(run.path):
        for policy_round, split in run.evaluations():
            if policy_round > rounds:
                shutil.rmtree(run.evaluation_folder(policy_round, split))
        for number in reversed(range(rounds, finished)):
            run.metrics_path(number).unlink(missing_ok=True)
    run.finish_round(rounds - 1)


def _unbury(run: Run, number: int) -> None:
    """Mark a round's training inputs as missing instead of pruned; completions are not needed again."""
    folder = run.round_folder(number)
    pruned = pruned_outputs(folder)
    if pruned & _NEEDED:
        with writing(folder):
            for name in _LATER:
                manifest_path(folder, STAGES[name]).unlink(missing_ok=True)
        write_tombstone(folder, pruned - _NEEDED)
    elif not pruned:
        tombstone_path(folder).unlink(missing_ok=True)  # a damaged one
