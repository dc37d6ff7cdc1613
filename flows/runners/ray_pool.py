"""A pool of Ray actors that take tasks when they are free; if one is lost or late, only its task is repeated."""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from flows.common.endings import RunnersLostError
from flows.common.escape import say

Actor = Any
"""Ray's handle of a `flows.runners.ray_actor.RayActor`."""
_POLL = 1.0  # seconds between checks for late tasks
_LATE = 3.0  # a task is late after so many times the median of its kind, and
_LEAST = 30.0  # seconds, or
_LOADING = 900.0  # seconds if it is the actor's first of this kind, which loads models


@dataclass(eq=False)
class Task:
    """A piece of work for one runner. Example: kind "rollout", shard 3."""

    kind: str
    shard: int
    call: Callable[[Actor], Any]
    """Starts the task on an actor; returns Ray's reference to the result."""
    result: Any = None
    error: Exception | None = None
    done: bool = False
    at: set[Actor] = field(default_factory=set[Actor])
    """Actors that work on it."""


@dataclass(frozen=True)
class _Handed:
    """A task that an actor works on; None while the actor starts."""

    actor: Actor
    task: Task | None
    began: float


class Budget:
    """The number of runners that a run may lose."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lost = 0

    def spend(self, reason: str) -> None:
        """Count a lost runner.

        Raises:
            RunnersLostError: If too many were lost.
        """
        self._lost += 1
        if self._lost > self._most:
            raise RunnersLostError(
                f"At most {self._most} lost runners are allowed by placement.max_restarts, got {self._lost}; the last: "
                f"{reason}. Finished work is kept: remove the cause (out of memory? lower the micro_batch of the "
                "stage), then run the same command again."
            )
        say(f"warning: a runner was lost, another one starts ({reason})", file=sys.stderr, flush=True)


class Pool:
    """Actors of one kind.

    Args:
        make: Starts an actor.
        size: Number of actors.
        budget: Budget of lost runners, which pools may share.
        patience: Seconds to wait until the cluster starts an actor.
    """

    def __init__(self, make: Callable[[], Actor], size: int, budget: Budget, patience: float) -> None:
        self._make, self._budget, self._patience = make, budget, patience
        self._idle = deque[Actor]()
        self._waiting = deque[Task]()
        self._handed: dict[Any, _Handed] = {}
        self._seconds: dict[str, list[float]] = {}
        self._loaded = set[tuple[Actor, str]]()
        for _ in range(size):
            self._start()

    def submit(self, kind: str, shard: int, call: Callable[[Actor], Any]) -> Task:
        """Queue a task; `finished` and `look` hand it to a free actor."""
        task = Task(kind, shard, call)
        self._waiting.append(task)
        return task

    def finished(self, tasks: Iterable[Task]) -> Iterator[Task]:
        """Yield tasks as they finish, and hand queued tasks to free actors.

        Raises:
            RunnersLostError: If too many runners are lost.
            Exception: The error of a task.
        """
        left = list(tasks)
        while left:
            for task in [task for task in left if task.done]:
                left.remove(task)
                if task.error:
                    raise task.error
                yield task
            if left:
                self._progress()

    def look(self) -> None:
        """Collect results and hand out queued tasks, without waiting."""
        self._progress(timeout=0.0)

    def drop(self, late: Iterable[Task]) -> None:
        """Restart actors that still work on a task that others have finished: they must not write any more."""
        stragglers = {actor for task in late for actor in task.at}
        for actor in stragglers:
            self.replace(actor, "it was late with a shard that another one has finished")

    def take(self, count: int, *, first: Sequence[Actor]) -> list[Actor]:
        """Return `count` idle actors without handing them tasks, those in `first` if they are idle; wait for them."""
        while len(self._idle) < count:
            self._progress(hand_out=False)
        named = [actor for actor in first if actor in self._idle]
        return [*named, *(actor for actor in self._idle if actor not in named)][:count]

    def __contains__(self, actor: Actor) -> bool:
        """Whether an actor belongs to the pool."""
        return actor in self._idle or any(handed.actor is actor for handed in self._handed.values())

    def replace(self, actor: Actor, reason: str, *, counts: bool = True) -> None:
        """Replace an actor by a new one; `counts` says whether it counts as lost."""
        ray.kill(actor)
        self._forget(actor)
        self._start()
        if counts:
            self._budget.spend(reason)

    def close(self) -> None:
        """End all actors."""
        for actor in {*self._idle, *(handed.actor for handed in self._handed.values())}:
            ray.kill(actor)

    def _start(self) -> None:
        actor = self._make()
        self._handed[actor.ready.remote()] = _Handed(actor, None, time.monotonic())

    def _progress(self, *, hand_out: bool = True, timeout: float = _POLL) -> None:
        """Hand out queued tasks, and wait a moment for results."""
        while hand_out and self._idle and (task := self._next()):
            actor = self._idle.popleft()
            task.at.add(actor)
            self._handed[task.call(actor)] = _Handed(actor, task, time.monotonic())
        if not self._handed:
            return
        done, _ = ray.wait(list(self._handed), num_returns=1, timeout=timeout)
        for ref in done:
            self._collect(ref, self._handed.pop(ref))
        starting = [handed for handed in self._handed.values() if handed.task is None]
        none_idle = not (self._idle and hand_out)
        if starting and len(starting) == len(self._handed) and none_idle and not done:
            self._require_start(starting)

    def _next(self) -> Task | None:
        """Return the next task for an idle actor: a queued one, else one that another actor is late with."""
        if self._waiting:
            return self._waiting.popleft()
        for handed in self._handed.values():
            task = handed.task
            if task and len(task.at) == 1 and not task.done and self._is_late(handed.actor, task.kind, handed.began):
                return task
        return None

    def _is_late(self, actor: Actor, kind: str, began: float) -> bool:
        usual, least = self._seconds.get(kind), _LEAST if (actor, kind) in self._loaded else _LOADING
        return usual is not None and time.monotonic() - began > max(least, _LATE * median(usual))

    def _collect(self, ref: Any, handed: _Handed) -> None:
        """Take the result of an actor; replace a lost actor, and queue its task again."""
        task = handed.task
        if task:
            task.at.discard(handed.actor)
        try:
            result, error = ray.get(ref), None
        except RayTaskError as raised:
            result, error = None, raised.cause or raised
        except RayActorError as lost:
            if lost.actor_init_failed:
                raise RunnersLostError(f"Runners are required, and one cannot start: {_last_line(lost)}") from lost
            if task and not task.done and not task.at:
                self._waiting.appendleft(task)
            self._start()  # before the budget may raise: the pool keeps its size
            self._budget.spend(death_cause(lost))
            return
        self._idle.append(handed.actor)
        if task is None:
            if error:
                raise error
            return
        self._loaded.add((handed.actor, task.kind))
        if not task.done:
            task.result, task.error, task.done = result, error, True
            self._seconds.setdefault(task.kind, []).append(time.monotonic() - handed.began)

    def _forget(self, actor: Actor) -> None:
        self._idle = deque(other for other in self._idle if other is not actor)
        for ref in [ref for ref, handed in self._handed.items() if handed.actor is actor]:
            task = self._handed.pop(ref).task
            if task:
                task.at.discard(actor)
                if not task.done and not task.at:
                    self._waiting.appendleft(task)

    def _require_start(self, starting: list[_Handed]) -> None:
        waited = time.monotonic() - min(handed.began for handed in starting)
        if waited > self._patience:
            raise RunnersLostError(
                f"Runners are required, got none from the cluster within {waited:.0f} s, which has "
                f"{ray.available_resources()} free. Add nodes, or lower placement.num_runners, "
                "placement.gpus_per_runner or placement.cpus_per_runner."
            )


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]


def death_cause(error: RayActorError) -> str:
    """Return why an actor died, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = next(
        (line for line in lines if "died" in line or "exit" in line.lower()), lines[0] if lines else "it died"
    )
    return reason.rstrip(".")
