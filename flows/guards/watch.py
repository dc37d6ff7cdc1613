"""All guards of a run: what they find, and what follows by the section `guards`."""

from collections.abc import Callable, Mapping

from flows.guards.course import diversity, reward_collapse, reward_hacking
from flows.guards.finding import Finding
from flows.guards.history import History, Scores, scores
from flows.guards.machine import disk, time
from flows.guards.numbers import CALMER, clip_frac, exploding, kl, non_finite, ratio, zero_spread
from stages.params.guards import Action
from stages.params.record import Params
from stages.readings.best_round import judged_alike
from stages.store.run import Run

GUARDS: Mapping[str, Callable[[History], str | None]] = {
    guard.__name__: guard
    for guard in (
        *(disk, time, non_finite, exploding, ratio, reward_collapse, zero_spread, kl, clip_frac),
        *(reward_hacking, diversity),
    )
}
"""By their names in the section `guards`. Each is a function of what lies on disk, so that the same command, given
again, finds the same."""

_GRAVEST: tuple[Action, ...] = ("stop", "rollback", "warn")


class Guards:
    """Looks at a run. A guard that stays tripped is told once."""

    def __init__(self, run: Run, params: Params, *, obey: bool = True) -> None:
        """Look at a run by its parameters.

        Args:
            obey: Whether `stop` and `rollback` are done; else they warn, as in a comparison, whose runs go on.
        """
        self._run, self._params, self._obey = run, params, obey
        self._told = set[str]()
        self._rounds: list[dict[str, float]] = []
        self._held_out: dict[int, Scores] = {}

    def look(self) -> list[Finding]:
        """Return what is found now and has not been told, the gravest first."""
        history = self._history()
        on = [(name, guard) for name, guard in GUARDS.items() if self._action(name) != "ignore"]
        found = [self._finding(name, told) for name, guard in on if (told := guard(history))]
        new = [finding for finding in found if finding.guard not in self._told]
        self._told = {finding.guard for finding in found}
        return sorted(new, key=lambda finding: _GRAVEST.index(finding.action))

    def of_error(self, error: FloatingPointError) -> Finding:
        """Return what is found when a stage has met a number that is not finite and cannot go on."""
        return self._finding("non_finite", f"{error} If it is the policy that has come apart: {CALMER}")

    def _finding(self, name: str, told: str) -> Finding:
        action = self._action(name)
        parent = self._run.parent
        made = parent["generation"] if parent else 0
        if action == "rollback" and made >= self._params.guards.max_rollbacks:
            action, told = "stop", f"{told} guards.max_rollbacks are made: {made}."
        if action in ("stop", "rollback") and not self._obey:
            action = "warn"
        return Finding(name, self._run.num_finished, told, action)

    def _action(self, name: str) -> Action:
        return getattr(self._params.guards, name).action

    def _history(self) -> History:
        run, split = self._run, self._params.evaluate.split
        self._rounds += run.metrics(len(self._rounds))
        judged = judged_alike(run, self._params)
        for number in set(judged) - self._held_out.keys():
            self._held_out[number] = scores(run.evaluation_folder(number, split))
        held_out = {number: self._held_out[number] for number in sorted(judged)}
        return History(self._params, run.path, self._rounds, held_out)
