"""Runs by hand that start again: what the start says, and whether they are as they were."""

from damage import numbers
from tiny import tables, tiny_params

from stages.integrity.resume import resume
from stages.integrity.verify import verify

SELDOM = ("run.rounds=3", "retention.rounds=null", "evaluate.every=3")
"""Of the policies within the run none is due to be evaluated again."""
MORE = tiny_params("run.rounds=4", "retention.rounds=null")
"""Of a run that has a next round."""


def resumed(run, params, executor):
    """What is said when a run is made fit for its next round."""
    said = []
    resume(run, params, executor, said.append)
    return said


def same(run, whole):
    return verify(run) == [] and tables(run.path) == tables(whole.path) and numbers(run) == numbers(whole)


def damaged(run):
    return [str(damage.path.relative_to(run.path)) for damage in verify(run)]
