"""Clients of benchmarks/reward_server.py, in a process of their own: they send one request again and again.

python benchmarks/reward_clients.py --port PORT --clients 200 --seconds 60 < BODY    prints a JSON object
"""

import argparse
import asyncio
import json
import random
import sys
import time
from dataclasses import dataclass, field


@dataclass
class Clients:
    """Clients that ask a server until a moment, and what they saw."""

    port: int
    body: bytes
    until: float
    answered: list[float] = field(default_factory=list)
    """Seconds that each answered request waited, from its first attempt."""
    unanswered: list[float] = field(default_factory=list)
    """Seconds that the requests without an answer have waited at the end."""
    busy: int = 0
    gone: int = 0

    async def ask(self, name: str, patience: float | None) -> None:
        """Ask until the end; disconnect after `patience` seconds, and ask again at once."""
        asked = self.until
        connection = None
        while (began := time.monotonic()) < self.until:
            asked = min(asked, began)
            left = self.until - began
            try:
                async with asyncio.timeout(left if patience is None else min(left, patience)):
                    connection = connection or await asyncio.open_connection("127.0.0.1", self.port)
                    status, headers = await self._exchange(*connection, name)
            except (TimeoutError, OSError, asyncio.IncompleteReadError):
                connection = _closed(connection)
                self.gone += 1
                continue
            if headers.get("connection") == "close":
                connection = _closed(connection)
            if status == 200:
                self.answered.append(time.monotonic() - asked)
                asked = self.until
            else:
                assert status in (429, 503), status
                self.busy += 1
                await asyncio.sleep(min(left, int(headers["retry-after"]) * random.uniform(1, 1.25)))
        if asked < self.until:
            self.unanswered.append(self.until - asked)
        _closed(connection)

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str
    ) -> tuple[int, dict[str, str]]:
        head = f"POST /v1/score HTTP/1.1\r\nHost: 127.0.0.1\r\nG2RPO-Client: {name}\r\nContent-Length: {len(self.body)}"
        writer.write(head.encode() + b"\r\n\r\n" + self.body)
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        await reader.readexactly(int(headers["content-length"]))
        return int(status.split()[1]), headers


def _closed(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None) -> None:
    if connection is not None:
        connection[1].transport.abort()


async def run(args: argparse.Namespace) -> dict[str, object]:
    """Return what patient and impatient clients saw."""
    body, until = sys.stdin.buffer.read(), time.monotonic() + args.seconds
    patient, impatient = (Clients(args.port, body, until) for _ in range(2))
    async with asyncio.TaskGroup() as group:
        for number in range(args.clients):
            hasty = number < args.impatient
            one = impatient if hasty else patient
            group.create_task(one.ask(f"client-{number}", args.patience if hasty else None))
    return {
        "answered": len(patient.answered) + len(impatient.answered),
        "longest_wait": max([0.0, *patient.answered, *patient.unanswered]),
        "longest_wait_impatient": max([0.0, *impatient.answered, *impatient.unanswered]),
        "busy": patient.busy + impatient.busy,
        "gone": impatient.gone,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--impatient", type=int, default=0, help="so many of them disconnect after --patience")
    parser.add_argument("--patience", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, required=True)
    print(json.dumps(asyncio.run(run(parser.parse_args()))))
