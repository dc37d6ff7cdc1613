"""The loop over rounds, written once; a stage call may be a plain call or a Prefect task."""

from collections.abc import Callable
from functools import partial

from flows.observers import Judged, Observers
from stages.best import best_round
from stages.execute import Done, is_done, run_stage
from stages.metrics import round_metrics
from stages.params import Params, for_report
from stages.policy_state import missing_files
from stages.registry import EVALUATE, ROUND_STAGES, Stage
from stages.repair import make_inputs
from stages.resources import Resources
from stages.retention import prune
from stages.store import Run

StageCall = Callable[[str, int, Callable[[], Done]], Done]
"""Calls a stage: its name, its round, and what does the work."""


def call_plainly(name: str, number: int, work: Callable[[], Done]) -> Done:
    """Call a stage in this process, with nobody in between."""
    return work()


def train(
    run: Run, params: Params, resources: Resources, call: StageCall, watching: Observers, *, final: bool = True
) -> None:
    """Bring a run to `run.rounds`, going on at its first unfinished stage, and judge it on held-out prompts.

    The base, every `evaluate.every`-th policy and the last are judged on `evaluate.split`; base, best and last
    once more on `report.split`, unless `final` is false.
    """

    def do(stage: Stage, number: int, by: Params) -> None:
        watching.stage_started(stage.name, number)
        done = call(stage.name, number, partial(run_stage, run, stage, number, by, resources))
        assert done.manifest is not None, f"Stage {stage.name} of round {number} has left shards out."

    def judge(policy_round: int, by: Params) -> None:
        do(EVALUATE, policy_round, by)
        split = by.evaluate.split
        watching.evaluated(Judged(policy_round, split, run.evaluation_folder(policy_round, split)))

    prune(run, params)
    if run.num_finished > params.run.rounds:  # fewer than before: the policy may have been let go
        make_inputs(run, EVALUATE, params.run.rounds, params, resources)
    for policy_round in range(min(run.num_finished, params.run.rounds) + 1):
        if _due(params, policy_round) and _can_be_judged(run, params, policy_round):
            judge(policy_round, params)
    for number in range(run.num_finished, params.run.rounds):
        for stage in ROUND_STAGES:
            do(stage, number, params)
        metrics = round_metrics(run, number)
        run.write_metrics(number, metrics)
        run.finish_round(number)
        watching.round_finished(number, metrics)
        if _due(params, number + 1):
            judge(number + 1, params)
        prune(run, params)
    for policy_round in sorted({0, best_round(run, params), params.run.rounds}) if final else ():
        judge(policy_round, for_report(params))


def _can_be_judged(run: Run, params: Params, policy_round: int) -> bool:
    """Whether a policy is still there or has been judged as asked; for the others, `evaluate` was changed too late."""
    return not missing_files(run.policy_folder(policy_round)) or is_done(run, EVALUATE, policy_round, params)


def _due(params: Params, policy_round: int) -> bool:
    return policy_round % params.evaluate.every == 0 or policy_round == params.run.rounds
