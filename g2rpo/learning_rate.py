"""The learning rate of a round: linear warmup, linear decay, then constant."""


def scheduled(
    learning_rate: float, round_number: int, *, warmup_rounds: int, decay_rounds: int | None, final_frac: float
) -> float:
    """Return the learning rate of a round, counted from 0.

    It rises linearly and reaches `learning_rate` in the last of `warmup_rounds`; then it falls linearly over
    `decay_rounds` to `final_frac` times `learning_rate`, and stays there. With None it never falls.
    Example: 1.0 with warmup 2, decay 4 and final_frac 0: 0.5, 1, 1, 0.75, 0.5, 0.25, 0, 0, ...

    Args:
        learning_rate: The highest value.
        round_number: The round.
        warmup_rounds: At least 0.
        decay_rounds: At least 1, or None.
        final_frac: In [0, 1].
    """
    if round_number < warmup_rounds:
        return learning_rate * (round_number + 1) / warmup_rounds
    if decay_rounds is None:
        return learning_rate
    progress = min(1.0, (round_number - warmup_rounds) / decay_rounds)
    return learning_rate * (1 - (1 - final_frac) * progress)
