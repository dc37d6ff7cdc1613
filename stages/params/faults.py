"""What pydantic finds at fault, as lines of a message: key, required, got, do."""

from collections.abc import Callable
from itertools import accumulate
from typing import Any

from pydantic import ValidationError

from g2rpo.messages import shown
from stages.params.names import rule_line

_MOST = 20
_CHARACTERS = 3_000
"""Faults that a message tells, and their characters, so that it fits on a screen."""


def fault_lines(error: ValidationError, line: Callable[[Any], str]) -> str:
    """Return a line for each fault, for the first of them if there are many."""
    faults = error.errors(include_url=False)
    places = {fault["loc"][:-1] for fault in faults}  # a list is too short by the items that are at fault
    faults = [fault for fault in faults if fault["type"] != "too_short" or fault["loc"] not in places]
    lines = [f"  {line(fault)}" for fault in faults[:_MOST]]
    ends = accumulate(map(len, lines))
    lines = lines[: max(1, sum(end <= _CHARACTERS for end in ends))]
    more = len(faults) - len(lines)
    return "\n".join([*lines, f"  and {more} more faults"] if more else lines)


def value_line(key: str, fault: Any, place: str) -> str:
    """Return the line of a value that is of the wrong type or out of range.

    Args:
        key: The key of the value.
        fault: What pydantic says of it.
        place: Where to change it, such as "the plan".
    """
    if fault["type"] == "string_pattern_mismatch":
        return rule_line(key, fault["ctx"]["pattern"], fault["input"])
    number = fault["type"] == "string_type" and isinstance(fault["input"], int | float)
    do = "Put the text in quotes." if number else f"Change it in {place}."
    return f"{key}: {fault['msg'].lower().replace('tuple', 'list')}, got {shown(fault['input'])}. {do}"
