"""Processes that live for a whole plan and finish its runs, so that each imports torch once.

Pools of libraries guarantee less, as we tried. When a process is killed, those of concurrent.futures, loky and Prefect
fail the runs of all processes. Pebble's fails one run, but waits forever for a process that ends with status 0,
breaks when an idle process dies, and has no call that replaces one process. To stop a run, concurrent.futures waits
until it ends, before Python 3.14, and loky kills it before it can close.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from queue import SimpleQueue
from types import TracebackType
from typing import IO, Any, cast

_ENDING_SECONDS = 20


class RunFailedError(Exception):
    """A run did not finish; the message says why."""


class PlanProcesses:
    """A number of processes, each started when first needed, and replaced if it dies.

    As many threads as there are processes may call `run` at a time; they must live as long as the processes.
    """

    def __init__(self, number: int) -> None:
        self._idle: SimpleQueue[_PlanProcess | None] = SimpleQueue()
        for _ in range(number):
            self._idle.put(None)
        self._started: list[_PlanProcess] = []
        self._closed = False

    def __enter__(self) -> "PlanProcesses":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End all processes; on an error, runs in progress close first and stay on disk."""
        self._closed = True
        for process in self._started:
            process.end(terminate=kind is not None)
        for process in self._started:
            process.wait()

    def run(self, task: Mapping[str, Any]) -> float:
        """Let a free process do a task, wait for it, and return its seconds.

        Raises:
            RunFailedError: If it failed, or its process died.
        """
        process, began = self._idle.get(), time.monotonic()
        try:
            if self._closed:
                raise RunFailedError("stopped")
            if process is None:
                process = _PlanProcess()
                self._started.append(process)
            answer = process.ask(task)
            if answer["last"]:
                process = None
        except EOFError as error:
            process = None
            raise RunFailedError(str(error)) from error
        finally:
            self._idle.put(process)
        if answer["error"]:
            raise RunFailedError(answer["error"])
        return time.monotonic() - began


class _PlanProcess:
    """One process of `flows.compare.plan_process`."""

    def __init__(self) -> None:
        words = [sys.executable, "-m", "flows.compare.plan_process", str(os.getpid())]
        environment = {"OMP_WAIT_POLICY": "passive"} | os.environ  # processes share the cores
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(words, encoding="utf-8", env=environment, **pipes)
        self._tasks, self._answers = cast("IO[str]", self._process.stdin), cast("IO[str]", self._process.stdout)

    def ask(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a task.

        Raises:
            EOFError: If the process has died; with its signal or status.
        """
        with suppress(BrokenPipeError):
            self._tasks.write(json.dumps(task) + "\n")
            self._tasks.flush()
            answer = self._answers.readline()
            if answer:
                return json.loads(answer)
        code = self._process.wait()
        how = f"by signal {-code}" if code < 0 else f"with status {code}"
        raise EOFError(f"its process ended {how}, perhaps out of memory")

    def end(self, *, terminate: bool) -> None:
        """Close the input of the process, so that it ends after its task; or terminate it at once."""
        with suppress(OSError):
            self._tasks.close()
        if terminate:
            self._process.terminate()

    def wait(self) -> None:
        """Wait until the process has ended, and kill it if it does not."""
        try:
            self._process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()
