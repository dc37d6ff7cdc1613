"""Making later rounds of a run unfinished again, when the policy that they led to is lost."""

import shutil

from stages.contract.declared_stages import STAGES
from stages.disk.files import writing
from stages.store.manifest import bury, let_go, manifest_path, tombstone_path
from stages.store.run import Run

_LATER = ("rollout", "update")
_NEEDED = frozenset(output for name in _LATER for output in STAGES[name].outputs)
"""What a round is trained from and what comes of it: gone, they are made again."""


def go_back(run: Run, rounds: int) -> None:
    """Have a run finished only so many rounds; those after it keep their tables, and are gone on with as unfinished.

    Their stages are found done where they come out of the same inputs. Their metrics go, and the evaluations of their
    policies, which may come out otherwise. Killed within and called again it ends the same.

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
    """Have what a round was trained from be missing, no longer let go; completions are not needed again."""
    folder = run.round_folder(number)
    gone = let_go(folder)
    if gone & _NEEDED:
        with writing(folder):
            for name in _LATER:
                manifest_path(folder, STAGES[name]).unlink(missing_ok=True)
        bury(folder, gone - _NEEDED)
    elif not gone:
        tombstone_path(folder).unlink(missing_ok=True)  # a damaged one
