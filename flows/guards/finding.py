"""What a guard has found, and the end of a session by it."""

from dataclasses import dataclass

from stages.params.guards import Action


@dataclass(frozen=True)
class Finding:
    """A guard that has tripped. Example: guard "kl", policy_round 40, action "warn"."""

    guard: str
    """Its name in the section `guards`."""
    policy_round: int
    """Rounds that were done then."""
    told: str
    """What was found, and what can be done, in a person's words."""
    action: Action

    def line(self) -> str:
        """Return it as one line, as `guard kl, after round 40 (warn): The policy …`."""
        return f"guard {self.guard}, after round {self.policy_round} ({self.action}): {self.told}"


class TrippedError(Exception):
    """Ends the rounds of a session: a guard has tripped whose action is `stop` or `rollback`."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.line())
        self.finding = finding
