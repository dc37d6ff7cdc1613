"""The result of a check, and its execution: a check that raises does not prevent the others."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fault"]


@dataclass(frozen=True)
class Check:
    """The result of a check. Example: name "disk", state "fault", message "0.3 GB are free", remedy "Make room."."""

    name: str
    state: State
    message: str
    remedy: str = ""


Look = Callable[[], Iterator[Check]]


def looked(name: str, look: Look) -> list[Check]:
    """Return the results of a check; if it raises, that is another fault."""
    results = list[Check]()
    try:
        results.extend(look())
    except Exception as error:  # any error is a finding
        message = f"the check failed: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        results.append(Check(name, "fault", message, "Remove this cause, then run the check again."))
    return results
