"""Bounds on connections, which uvicorn leaves open: their number, by address and in all, and the time for a request.

A connection is idle unless a request is being answered. An idle one must send a whole head within `_SECONDS`; if there
are too many connections, the one that has been idle longest makes room for a new one.
"""

import asyncio
import select
from collections import defaultdict
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_SECONDS = 10.0  # for the head of a request, for the rest of a refused one, and to take a reply
_MAX_CONNECTIONS = 512
_MAX_OF_ADDRESS = 256
_GONE = getattr(select, "POLLRDHUP", select.POLLHUP)  # Linux knows of a client that will send no more
_END = b"Connection: close\r\nContent-Length: 0\r\n\r\n"
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n" + _END
_LATE = b"HTTP/1.1 408 Request Timeout\r\n" + _END


class Connections:
    """The open connections of a server, by the client's address."""

    def __init__(self) -> None:
        self._all: set[BoundedProtocol] = set()
        self._of_address: defaultdict[str, set[BoundedProtocol]] = defaultdict(set)

    def add(self, one: "BoundedProtocol") -> bool:
        """Count a new connection; close an idle one if it is one too many. Return whether there is room."""
        here = self._of_address[one.address]
        room = _has_room(here, _MAX_OF_ADDRESS) and _has_room(self._all, _MAX_CONNECTIONS)
        self._all.add(one)
        here.add(one)
        return room

    def remove(self, one: "BoundedProtocol") -> None:
        """Forget a connection."""
        self._all.discard(one)
        here = self._of_address[one.address]
        here.discard(one)
        if not here:
            del self._of_address[one.address]


class BoundedProtocol(H11Protocol):
    """One connection of the reward server; `connections` are all of them."""

    def __init__(self, *words: Any, connections: Connections, **settings: Any) -> None:
        super().__init__(*words, **settings)
        self._all = connections
        self._timer: asyncio.TimerHandle | None = None
        self.address = ""
        self.idle_since = 0.0

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        cycle = cast(Any, self.cycle)  # None before the first request
        return cycle is None or cycle.response_complete

    def gone(self) -> bool:
        """Return whether the client has disconnected, in any thread: the kernel knows before the loop does."""
        poll = select.poll()
        file = self.transport.get_extra_info("socket").fileno()
        if file >= 0:
            poll.register(file, _GONE)
        return file < 0 or bool(poll.poll(0))

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin, if there is room."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self._start_timer()
        if not self._all.add(self):
            self._end(_FULL)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        self._all.remove(self)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Read what has come; once a head is whole, the application bounds the time of its body."""
        super().handle_events()
        if not self.idle:
            cast(Any, self.scope)["state"]["gone"] = self.gone
        if not self.idle and not self.flow.write_paused:
            self._stop_timer()

    def on_response_complete(self) -> None:
        """Wait for the rest of a refused request, or for the next one."""
        self._start_timer()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Wait for the client to take its reply."""
        super().pause_writing()
        self._start_timer()

    def resume_writing(self) -> None:
        """Write on."""
        super().resume_writing()
        if not self.idle:
            self._stop_timer()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; in the middle of a reply, only close the connection."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def _start_timer(self) -> None:
        self._stop_timer()
        self.idle_since = self.loop.time()
        self._timer = self.loop.call_later(_SECONDS, self._late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        if self.transport.is_closing() or self.flow.write_paused:
            self.transport.abort()
        elif self.conn.our_state is h11.IDLE:
            self._end(_LATE)
        else:  # a refused request that does not end
            self.transport.close()
            self._start_timer()

    def _end(self, reply: bytes) -> None:
        self.transport.write(reply)
        self.transport.close()
        self._start_timer()


def _has_room(group: set[BoundedProtocol], most: int) -> bool:
    """Return whether a group has room for one more, after closing the one that has been idle longest, if need be."""
    if len(group) < most:
        return True
    left = [one for one in group if not one.transport.is_closing()]
    idle = [one for one in left if one.idle]
    if len(left) >= most and idle:
        min(idle, key=lambda one: one.idle_since).transport.abort()
    return len(left) < most or bool(idle)
