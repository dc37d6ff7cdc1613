"""The thread that scores requests, one at a time: a score must not depend on the requests of others."""

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

import torch

from flows.reward_server.request import RequestError, ScoreRequest, read_request
from flows.reward_server.turns import Turns
from g2rpo.messages import one_line
from g2rpo.rewards.protocol import Reward

_MAX_WAITING = 256
_LONGEST_RETRY_SECONDS = 30
_ERROR_CHARACTERS = 200  # a reply of 1 MiB has room for the errors of all its items
_OF_THE_MACHINE = (MemoryError, torch.OutOfMemoryError, torch.AcceleratorError)  # no fault of a picture

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """The reward of a server. Example: judge_a, its digest as revision, 96 pictures per request."""

    reward: Reward
    model: str
    revision: str
    max_batch: int
    device: torch.device

    @property
    def pin(self) -> dict[str, str]:
        """Model and revision, which every reply contains."""
        return {"model": self.model, "revision": self.revision}


@dataclass(frozen=True, eq=False)
class Job:
    """A request that waits to be scored."""

    client: str
    body: bytes
    gone: Callable[[], bool]
    """Whether the client has disconnected."""
    reply: Future[Mapping[str, object]] = field(default_factory=Future)


class Scoring:
    """Scores the requests of all clients by turns, in a thread of its own."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._turns = Turns[Job](_MAX_WAITING)
        self._seconds = 0.0  # of a request, on average
        self._thread = threading.Thread(target=self._work, name="reward", daemon=True)

    def start(self) -> None:
        """Begin to score."""
        self._thread.start()

    def close(self) -> None:
        """End the thread after the request that it scores now."""
        self._turns.close()

    def add(self, client: str, body: bytes, gone: Callable[[], bool]) -> Job:
        """Let a request wait for its turn; its reply may be a `RequestError`.

        Raises:
            RequestError: If too many wait.
        """
        job = Job(client, body, gone)
        if (lost := self._turns.add(client, job)) is not None:
            lost.reply.set_exception(RequestError(429, "Others wait with fewer requests than this client."))
        return job

    def give_up(self, job: Job) -> None:
        """Drop a request whose client has gone, unless it is being scored."""
        self._turns.remove(job.client, job)

    def retry_after(self) -> int:
        """Return the seconds until the requests that wait now are scored, 1 to 30."""
        return min(max(1, math.ceil(len(self._turns) * self._seconds)), _LONGEST_RETRY_SECONDS)

    def _work(self) -> None:
        while (job := self._turns.take()) is not None:
            if job.gone() or not job.reply.set_running_or_notify_cancel():
                continue
            started = time.monotonic()
            try:
                job.reply.set_result(scored(self._served, job.body))
            except BaseException as error:  # the thread must live on
                job.reply.set_exception(error)
            self._seconds += (time.monotonic() - started - self._seconds) / 8


def scored(served: Served, body: bytes) -> Mapping[str, object]:
    """Return the reply to a request: for each item its score or its error.

    Raises:
        RequestError: If the request as a whole is invalid.
    """
    request = read_request(body, served.max_batch, served.pin)
    scores: list[float | None] = [None] * len(request.texts)
    failed = dict(request.errors)
    for items in request.groups():
        for item, score in zip(items, _scores(served, request, items), strict=True):
            if isinstance(score, str):
                failed[item] = score
            else:
                scores[item] = score
    errors = [{"item": item, "error": one_line(failed[item], _ERROR_CHARACTERS)} for item in sorted(failed)]
    return served.pin | {"scores": scores, "errors": errors}


def _scores(served: Served, request: ScoreRequest, items: list[int]) -> list[float | str]:
    """Return for each item its score, or the reason why it has none.

    If scoring the batch fails, score picture by picture, so that only the faulty ones get the error.
    """
    images = request.images(items, served.device)
    try:
        scores = served.reward.score(images, [request.texts[item] for item in items]).tolist()
    except _OF_THE_MACHINE:
        raise
    except Exception as error:
        if len(items) > 1:
            return [_scores(served, request, [item])[0] for item in items]
        if isinstance(error, ValueError):
            return [str(error)]
        _LOG.warning("Reward %s failed for a picture.", served.model, exc_info=error)
        return [f"The reward failed: {type(error).__name__}: {error}"]
    return [score if math.isfinite(score) else f"The reward gave {score}." for score in scores]
