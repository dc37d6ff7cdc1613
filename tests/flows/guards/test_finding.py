from flows.guards.finding import Finding, TrippedError

FOUND = Finding("kl", 40, "The policy moves away. Set update.kl_weight.", "warn")
LINE = "guard kl, after round 40 (warn): The policy moves away. Set update.kl_weight."


def test_a_finding_is_one_line_with_guard_round_action_and_remedy():
    assert FOUND.line() == LINE


def test_the_end_of_a_session_tells_that_line_and_carries_what_was_found():
    tripped = TrippedError(FOUND)
    assert str(tripped) == LINE
    assert tripped.finding is FOUND
