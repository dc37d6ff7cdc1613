"""A thing that was looked at, and how all are looked at: one that cannot be does not keep the others from it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fault"]


@dataclass(frozen=True)
class Check:
    """What was found. Example: name "disk", state "fault", told "0.3 GB are free", remedy "Make room."."""

    name: str
    state: State
    told: str
    remedy: str = ""


Look = Callable[[], Iterator[Check]]


def looked(name: str, look: Look) -> list[Check]:
    """Return what a look finds; one that fails is a fault of its own."""
    found = list[Check]()
    try:
        found.extend(look())
    except Exception as error:  # a doctor must not fall ill of what the patient has
        told = f"could not be looked at: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        found.append(Check(name, "fault", told, "Mend what it names, then look again."))
    return found
