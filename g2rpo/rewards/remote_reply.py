"""The replies that a reward server may send, and the errors about all others; see docs/remote-reward.md."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from g2rpo.messages import one_line
from g2rpo.rewards.protocol import RewardError

_LARGEST = torch.finfo(torch.float32).max
_QUOTED_CHARACTERS = 300


@dataclass(frozen=True)
class Question:
    """One request. Example: reward `vlm`, url `https://judge:8443/v1/score`, pictures 16 to 23 of the batch."""

    reward: str
    url: str
    start: int
    """The picture of the batch that is item 0 of the request."""
    count: int
    """Items of the request."""
    token: str | None = field(repr=False)

    def error(self, required: str, got: str, do: str, item: int | None = None) -> RewardError:
        """Return an error that names the reward, the address and, if it is known, the picture."""
        row = None if item is None else self.start + item
        about = "" if row is None else f", picture {row} of the batch"
        return RewardError(f"Reward {self.reward} at {self.url}{about}: {required}, got {got}. {do}", row)

    def quoted(self, text: str) -> str:
        """Return a server's text, cut, on one line, and without the token, in case the server echoes it.

        Characters that a terminal would obey are replaced.
        """
        hidden = text.replace(self.token, "***") if self.token else text
        return one_line(hidden, _QUOTED_CHARACTERS)

    def shown(self, value: object) -> str:
        """Return a value of a reply as an error shows it."""
        return self.quoted(repr(value))


def refused(question: Question, status: int, location: str | None, body: bytes) -> RewardError:
    """Return the error for a status that is not 200 and that a retry will not change, in the server's words."""
    message = question.quoted(body.decode(errors="replace"))
    if 300 <= status < 400 and location is not None:
        return question.error(
            "a reply is required",
            f"status {status}, a redirect to {question.quoted(location)}",
            f"It is not followed; set rewards.{question.reward}.url to the server itself.",
        )
    item = _item(_object(body).get("item"), question)
    do = "Correct what the server reports."
    if status in (401, 403):
        do = f"Put the server's token into the environment variable of rewards.{question.reward}.token_env."
    return question.error("status 200 is required", f"{status}: {message or 'no text'}", do, item)


def check_described(question: Question, body: bytes, pin: Mapping[str, str], batch: int) -> None:
    """Refuse a server with another model or revision, or one that takes fewer than `batch` pictures per request.

    Raises:
        RewardError: If it is one of these, or its reply does not say.
    """
    reply = _pinned(question, body, pin)
    largest = reply.get("max_batch")
    if type(largest) is not int or largest < 1:
        raise question.error(
            "`max_batch` must be an integer of at least 1", question.shown(largest), "Correct the server."
        )
    if batch > largest:
        raise question.error(
            f"at most `max_batch` = {largest} pictures per request are taken",
            f"rewards.{question.reward}.batch = {batch}",
            f"Lower it to {largest}.",
        )


def read_scores(question: Question, body: bytes, pin: Mapping[str, str]) -> list[float]:
    """Return one number for each item.

    Raises:
        RewardError: If the reply is anything but one finite fp32 number per item by the pinned model and revision.
    """
    reply = _pinned(question, body, pin)
    scores, errors = reply.get("scores"), reply.get("errors", [])
    if not isinstance(errors, list) or not all(isinstance(error, dict) for error in errors):
        raise question.error("`errors` must be a list of objects", question.shown(errors), "Correct the server.")
    for error in errors:
        raise question.error(
            "a score is required",
            f"{question.shown(error.get('error'))} ({len(errors)} of {question.count} pictures failed)",
            "Look at the picture and its text, or at the server's log.",
            _item(error.get("item"), question),
        )
    if not isinstance(scores, list) or len(scores) != question.count:
        got = f"{len(scores)}" if isinstance(scores, list) else question.shown(scores)
        raise question.error(f"`scores` must be a list of {question.count} numbers", got, "Correct the server.")
    return [_number(question, item, score) for item, score in enumerate(scores)]


def _number(question: Question, item: int, score: object) -> float:
    if isinstance(score, bool) or not isinstance(score, int | float) or not abs(score) <= _LARGEST:  # also if NaN
        raise question.error(
            f"scores[{item}] must be a finite number within fp32", question.shown(score), "Correct the server.", item
        )
    return float(score)


def _pinned(question: Question, body: bytes, pin: Mapping[str, str]) -> dict[str, Any]:
    """Return the reply as an object, if it is by the pinned model and revision."""
    reply = _object(body)
    if not reply:
        text = question.quoted(body.decode(errors="replace"))
        raise question.error("a JSON object is required", text or "no text", "Is this the URL of a reward server?")
    for key, required in pin.items():
        if reply.get(key) != required:
            raise question.error(
                f"{key} {required!r} is required",
                question.shown(reply.get(key)),
                f"Set rewards.{question.reward}.{key} to that of the server, or correct the server: scores of two "
                "models cannot be compared.",
            )
    return reply


def _object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a reply; empty if it is none."""
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return reply if isinstance(reply, dict) else {}


def _item(value: object, question: Question) -> int | None:
    """Return the item that a server names, if the request has it."""
    return value if type(value) is int and 0 <= value < question.count else None
