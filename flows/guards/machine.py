"""Guards on the machine and the clock."""

import shutil

from flows.guards.history import History


def disk(history: History) -> str | None:
    """Report a store whose disk is nearly full."""
    least, free = history.guards.disk.free_gb, shutil.disk_usage(history.folder).free / 1e9
    if free >= least:
        return None
    return (
        f"{least:g} GB must be free for {history.folder}, got {free:.2f} GB. Make room, for example with `g2rpo "
        "prune` or a lower retention.rounds; then run the same command again."
    )


def time(history: History) -> str | None:
    """Report a run that has used up its time."""
    hours = history.guards.time.hours
    spent = sum(value for row in history.rounds for name, value in row.items() if name.startswith("seconds/")) / 3600
    if hours is None or spent < hours:
        return None
    return f"The rounds have taken {spent:.3g} hours, the budget is {hours:g}. Raise guards.time.hours to continue."
