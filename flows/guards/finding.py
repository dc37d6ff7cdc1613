"""The finding of a guard, and the exception by which it ends a session."""

from dataclasses import dataclass

from stages.params.guards import Action


@dataclass(frozen=True)
class Finding:
    """A guard that has tripped. Example: guard "kl", policy_round 40, action "warn"."""

    guard: str
    """Its name in the section `guards`."""
    policy_round: int
    """Number of finished rounds when it tripped."""
    message: str
    """The message for people: what the guard found and what to do."""
    action: Action

    def line(self) -> str:
        """Return it as one line, as `guard kl, after round 40 (warn): The policy …`."""
        return f"guard {self.guard}, after round {self.policy_round} ({self.action}): {self.message}"


class TrippedError(Exception):
    """Ends the rounds of a session: a guard with the action `stop` or `rollback` has tripped."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.line())
        self.finding = finding
