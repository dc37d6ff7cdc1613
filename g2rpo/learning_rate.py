"""The learning rate of a round: a rise, a fall, and what is left."""


def scheduled(
    learning_rate: float, round_number: int, *, warmup_rounds: int, decay_rounds: int | None, final_frac: float
) -> float:
    """Return the learning rate of a round, counted from 0.

    It rises linearly over the first `warmup_rounds`, the last of which has all of it; then it falls linearly over
    `decay_rounds` to `final_frac` of it, and stays. None never falls.
    Example: 1.0 with warmup 2, decay 4 and final_frac 0: 0.5, 1, 1, 0.75, 0.5, 0.25, 0, 0, ...

    Args:
        learning_rate: The highest.
        round_number: The round.
        warmup_rounds: At least 0.
        decay_rounds: At least 1, or None.
        final_frac: In [0, 1].
    """
    if round_number < warmup_rounds:
        return learning_rate * (round_number + 1) / warmup_rounds
    if decay_rounds is None:
        return learning_rate
    fallen = min(1.0, (round_number - warmup_rounds) / decay_rounds)
    return learning_rate * (1 - (1 - final_frac) * fallen)
