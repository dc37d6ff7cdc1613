"""The loop over rounds, written once; a stage call may be a plain call or a Prefect task."""

from collections.abc import Callable

from flows.observers import Observers
from stages.execute import Done, execute, run_stage
from stages.metrics import evaluation_metrics, round_metrics
from stages.params import Params, for_report
from stages.registry import EVALUATE, ROUND_STAGES
from stages.resources import Resources
from stages.store import Run

StageCall = Callable[[str, int, Callable[[], Done]], Done]
"""Calls a stage: its name, its round, and what does the work."""


def call_plainly(name: str, number: int, work: Callable[[], Done]) -> Done:
    """Call a stage in this process, with nobody in between."""
    return work()


def train(run: Run, params: Params, resources: Resources, call: StageCall, watching: Observers) -> None:
    """Bring a run to `run.rounds`, going on at its first unfinished stage, and judge it on held-out prompts.

    The base, every `evaluate.every`-th policy and the last are judged on `evaluate.split`; base and last
    once more on `report.split`.
    """
    last = params.run.rounds

    def judge(policy_round: int, by: Params) -> None:
        folder = run.evaluation_folder(policy_round, by.evaluate.split)
        inputs = {"policy": run.policy_folder(policy_round)}
        watching.stage_started(EVALUATE.name, policy_round)
        call(
            EVALUATE.name,
            policy_round,
            lambda: execute(EVALUATE, folder, inputs, by, resources, number=policy_round),
        )
        watching.evaluated(policy_round, by.evaluate.split, evaluation_metrics(folder))

    for policy_round in range(run.num_finished + 1):
        if _due(params, policy_round):
            judge(policy_round, params)
    for number in range(run.num_finished, last):
        for stage in ROUND_STAGES:
            watching.stage_started(stage.name, number)
            call(stage.name, number, lambda: run_stage(run, stage, number, params, resources))  # noqa: B023
        metrics = round_metrics(run, number)
        run.write_metrics(number, metrics)
        run.finish_round(number)
        watching.round_finished(number, metrics)
        if _due(params, number + 1):
            judge(number + 1, params)
    for policy_round in (0, last):
        judge(policy_round, for_report(params))


def _due(params: Params, policy_round: int) -> bool:
    return policy_round % params.evaluate.every == 0 or policy_round == params.run.rounds
