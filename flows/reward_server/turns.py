"""The requests that wait to be scored. Clients take turns, so one with many requests delays mostly itself."""

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from flows.reward_server.request import RequestError

_KEPT_SECONDS = 30.0  # that a client without a request keeps its place: it gave up waiting, and will ask again

_Request = TypeVar("_Request")


@dataclass
class _Client(Generic[_Request]):
    waiting: deque[_Request] = field(default_factory=deque)
    left_at: float = 0.0
    """When the last of its requests was given up."""


class Turns(Generic[_Request]):
    """A bounded queue of requests by client. The loop adds and removes; the thread that scores takes.

    The next request is the oldest of the client that was served longest ago. If the queue is full, the client with
    most requests loses its newest one to a client with fewer.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._clients: dict[str, _Client[_Request]] = {}  # in the order of their turns
        self._count = 0
        self._changed = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        return self._count

    def add(self, name: str, request: _Request) -> _Request | None:
        """Let a request of a client wait; return the request that lost its place to it, if any.

        Raises:
            RequestError: If the queue is full and no client has more requests in it, or if it is closed.
        """
        with self._changed:
            if self._closed:
                raise RequestError(503, "The server is ending.")
            lost = self._make_room(name) if self._count >= self._most else None
            self._clients.setdefault(name, _Client()).waiting.append(request)
            self._count += 1
            self._changed.notify()
        return lost

    def remove(self, name: str, request: _Request) -> None:
        """Give up a request, if it still waits. Its client keeps its place for a while."""
        with self._changed:
            client = self._clients.get(name)
            if client is None or request not in client.waiting:
                return
            client.waiting.remove(request)
            self._count -= 1
            client.left_at = time.monotonic()
            absent = [other for other, state in self._clients.items() if not state.waiting]
            if len(absent) > self._most:
                del self._clients[absent[0]]

    def take(self) -> _Request | None:
        """Wait for the next request and return it; None once the queue is closed."""
        with self._changed:
            while not self._closed:
                if (request := self._next()) is not None:
                    return request
                self._changed.wait()
        return None

    def close(self) -> None:
        """Take no more requests."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _make_room(self, name: str) -> _Request:
        own = len(self._clients[name].waiting) if name in self._clients else 0
        most = max(self._clients.values(), key=lambda client: len(client.waiting))
        if len(most.waiting) <= own + 1:
            raise RequestError(503, f"{self._count} requests are waiting.")
        self._count -= 1
        return most.waiting.pop()

    def _next(self) -> _Request | None:
        for name, client in list(self._clients.items()):
            if client.waiting:
                request = client.waiting.popleft()
                self._count -= 1
                del self._clients[name]
                if client.waiting:
                    self._clients[name] = client  # behind all others
                return request
            if time.monotonic() - client.left_at > _KEPT_SECONDS:
                del self._clients[name]
        return None
