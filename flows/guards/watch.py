"""All guards of a run: their findings, and the actions that the section `guards` sets."""

from collections.abc import Callable, Mapping

from flows.guards.course import diversity, reward_collapse, reward_hacking
from flows.guards.finding import Finding
from flows.guards.history import History, Scores, scores
from flows.guards.machine import disk, time
from flows.guards.numbers import CALMER, clip_frac, exploding, kl, non_finite, ratio, zero_spread
from stages.params.guards import Action
from stages.params.record import Params
from stages.readings.best_round import evaluated_rounds
from stages.store.run import Run

GUARDS: Mapping[str, Callable[[History], str | None]] = {
    guard.__name__: guard
    for guard in (
        *(disk, time, non_finite, exploding, ratio, reward_collapse, zero_spread, kl, clip_frac),
        *(reward_hacking, diversity),
    )
}
"""By their names in the section `guards`. Each is a function of the files on disk, so that the same command, run again,
has the same findings."""

_BY_SEVERITY: tuple[Action, ...] = ("stop", "rollback", "warn")


class Guards:
    """Checks a run. A guard that stays tripped is reported once."""

    def __init__(self, run: Run, params: Params, *, obey: bool = True) -> None:
        """Check a run with these parameters.

        Args:
            obey: Whether `stop` and `rollback` take effect; if not, they warn, as in a comparison, whose runs continue.
        """
        self._run, self._params, self._obey = run, params, obey
        self._reported = set[str]()
        self._rounds: list[dict[str, float]] = []
        self._held_out: dict[int, Scores] = {}

    def look(self) -> list[Finding]:
        """Return the findings that are new, the most severe first."""
        history = self._history()
        active = [(name, guard) for name, guard in GUARDS.items() if self._action(name) != "ignore"]
        findings = [self._finding(name, message) for name, guard in active if (message := guard(history))]
        new = [finding for finding in findings if finding.guard not in self._reported]
        self._reported = {finding.guard for finding in findings}
        return sorted(new, key=lambda finding: _BY_SEVERITY.index(finding.action))

    def of_error(self, error: FloatingPointError) -> Finding:
        """Return the finding if a stage fails because of a number that is not finite."""
        return self._finding("non_finite", f"{error} If the policy has diverged, {CALMER}")

    def _finding(self, name: str, message: str) -> Finding:
        action = self._action(name)
        parent = self._run.parent
        rollbacks = parent["generation"] if parent else 0
        if action == "rollback" and rollbacks >= self._params.guards.max_rollbacks:
            action, message = "stop", f"{message} guards.max_rollbacks is reached: {rollbacks}."
        if action in ("stop", "rollback") and not self._obey:
            action = "warn"
        return Finding(name, self._run.num_finished, message, action)

    def _action(self, name: str) -> Action:
        return getattr(self._params.guards, name).action

    def _history(self) -> History:
        run, settings = self._run, self._params.evaluate
        self._rounds += run.metrics(len(self._rounds))
        policy_rounds = evaluated_rounds(run, self._params)
        for number in set(policy_rounds) - self._held_out.keys():
            self._held_out[number] = scores(run.evaluation_folder(number, settings.split), settings.rewards)
        held_out = {number: self._held_out[number] for number in sorted(policy_rounds)}
        return History(self._params, run.path, self._rounds, held_out)
