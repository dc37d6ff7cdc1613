"""The loop over rounds, written once; a stage call may be a plain call or a Prefect task."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from flows.guards.finding import TrippedError
from flows.guards.watch import Guards
from flows.observers.observer import Evaluated, Observers
from flows.training.rollout_ahead import Ahead
from flows.training.stop_request import obey_request
from stages.contract.declared_stages import EVALUATE, ROUND_STAGES, Stage
from stages.contract.executor import StageExecutor
from stages.disk.policy_state import missing_files
from stages.engine.execute import StageResult, is_done, run_stage
from stages.integrity.repair import make_inputs
from stages.params.record import Params, for_report
from stages.readings.best_round import best_round
from stages.readings.metrics import round_metrics
from stages.store.retention import prune
from stages.store.run import Run

StageCall = Callable[[str, int, Callable[[], StageResult]], StageResult]
"""Calls a stage, given its name, its round, and the function that does the work."""


def call_plainly(name: str, number: int, work: Callable[[], StageResult]) -> StageResult:
    """Call a stage directly, in this process."""
    return work()


@dataclass(frozen=True)
class Loop:
    """The rounds of a run: its executor, the call of its stages, its observers and its guards."""

    run: Run
    params: Params
    executor: StageExecutor
    call: StageCall
    watching: Observers
    guards: Guards

    def train(self) -> None:
        """Train the run up to `run.rounds`, from its first unfinished stage on.

        The loop evaluates the base, every `evaluate.every`-th policy and the last on `evaluate.split`. The guards
        check the run before the first round and after each round.

        Raises:
            TrippedError: If a guard ends the run.
            StopRequestedError: If somebody has requested a stop.
        """
        run, params = self.run, self.params
        prune(run, params)
        if run.num_finished > params.run.rounds:  # fewer than before: the policy may have been pruned
            make_inputs(run, EVALUATE, params.run.rounds, params, self.executor)
        for policy_round in range(min(run.num_finished, params.run.rounds) + 1):
            if self._due(policy_round) and self._can_be_evaluated(policy_round):
                self._evaluate(policy_round, params)
        self._guard()
        for number in range(run.num_finished, params.run.rounds):
            self._round(number)
            self._guard()

    def evaluate_finally(self) -> None:
        """Evaluate base, best and last policy on `report.split`."""
        last = min(self.run.num_finished, self.params.run.rounds)
        for policy_round in sorted({0, best_round(self.run, self.params), last}):
            self._evaluate(policy_round, for_report(self.params))

    def _round(self, number: int) -> None:
        *before, update = ROUND_STAGES
        for stage in before:
            self._do(stage, number, self.params)
        with Ahead(self.run, self.params, self.executor).of(number):
            self._do(update, number, self.params)
        metrics = round_metrics(self.run, number)
        self.run.write_metrics(number, metrics)
        self.run.finish_round(number)
        self.watching.round_finished(number, metrics)
        if self._due(number + 1):
            self._evaluate(number + 1, self.params)
        prune(self.run, self.params)

    def _do(self, stage: Stage, number: int, by: Params) -> None:
        obey_request(self.run)
        self.watching.stage_started(stage.name, number)
        try:
            done = self.call(stage.name, number, partial(run_stage, self.run, stage, number, by, self.executor))
        except FloatingPointError as error:
            finding = self.guards.of_error(error)
            if finding.action in ("ignore", "warn") or self.run.num_finished == 0:  # then training is not the cause
                raise
            self.watching.guarded(finding)
            raise TrippedError(finding) from error
        assert done.manifest is not None, f"Stage {stage.name} of round {number} has left shards out."

    def _evaluate(self, policy_round: int, by: Params) -> None:
        self._do(EVALUATE, policy_round, by)
        split = by.evaluate.split
        self.watching.evaluated(Evaluated(policy_round, split, self.run.evaluation_folder(policy_round, split)))

    def _guard(self) -> None:
        """Report the guards' findings, the most severe first; end the rounds at `stop` or `rollback`."""
        for finding in self.guards.look():
            self.watching.guarded(finding)
            if finding.action in ("stop", "rollback"):
                raise TrippedError(finding)

    def _can_be_evaluated(self, policy_round: int) -> bool:
        """Whether a policy is stored or already evaluated; if neither, `evaluate` has changed after it was pruned."""
        stored = not missing_files(self.run.policy_folder(policy_round))
        return stored or is_done(self.run, EVALUATE, policy_round, self.params)

    def _due(self, policy_round: int) -> bool:
        return policy_round % self.params.evaluate.every == 0 or policy_round == self.params.run.rounds
