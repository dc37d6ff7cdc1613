"""The rules of names and texts in parameters, plans and deployments: one pattern each, with its words for an error."""

import re
from typing import Annotated

from pydantic import Field

from g2rpo.messages import shown

_NAME = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
_TEXT = r"^[^\x00-\x1f\x7f-\x9f]*$"
_KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+")
_COMMIT = "^[0-9a-f]{40}$"
_TOKEN_VARIABLE = "^G2RPO_TOKEN_[A-Z0-9_]{1,64}$"

RULES = {
    _NAME: (
        "a name of at most 64 letters, digits, `_`, `-` and `.` that begins with a letter or digit",
        "it becomes a metric of MLflow and part of file names. Rename it",
    ),
    _TEXT: ("text without control characters", "they move a terminal's cursor and end lines. Remove them"),
    _COMMIT: ("a commit of 40 hex digits", "a branch can move. Change it"),
    _TOKEN_VARIABLE: (
        "an environment variable named G2RPO_TOKEN_ and capitals",
        "parameters must not send another secret of this machine to a server. Put the token into such a variable",
    ),
}
"""What each pattern requires; the reason, and the remedy."""


def rule_line(key: str, pattern: str, value: object) -> str:
    """Return what a value that does not match a pattern is refused with."""
    required, reason = RULES[pattern]
    return f"{key}: {required} is required, got {shown(value)}: {reason}."


Name = Annotated[str, Field(pattern=_NAME)]
"""The name of a reward, a deployment or a registered model: what MLflow, Prefect and file systems take as one word."""
Text = Annotated[str, Field(pattern=_TEXT, max_length=4096)]
"""Text of one line, such as a path; the length is that of the longest path of Linux."""
Title = Annotated[str, Field(pattern=_TEXT, min_length=1, max_length=200)]
"""Text of one line that people read, such as a plan's method; MLflow's databases hold experiments of 256 characters."""
Commit = Annotated[str, Field(pattern=_COMMIT)]
"""A commit of a repository, such as `0123456789abcdef0123456789abcdef01234567`."""
TokenVariable = Annotated[str, Field(pattern=_TOKEN_VARIABLE)]
"""An environment variable that holds a secret, such as `G2RPO_TOKEN_JUDGE`."""


def check_name(key: str, name: object) -> None:
    """Refuse what is no `Name`.

    Raises:
        ValueError: With the key, what is required, what was got and the remedy.
    """
    if not (isinstance(name, str) and re.fullmatch(_NAME, name)):
        raise ValueError(rule_line(key, _NAME, name))


def check_key(place: str, key: str) -> None:
    """Refuse what is no `section.key`: with `=`, `#` or white space it would say another override than it shows.

    Raises:
        ValueError: With the place, what is required, what was got and an example.
    """
    if not _KEY.fullmatch(key):
        raise ValueError(f"{place}: keys of the form section.key are required, got {shown(key)}. Example: rollout.eta.")
