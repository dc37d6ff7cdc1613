"""The update by several runners: the ranks of one process group, which take each step together."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from flows.runners.ray_pool import Actor, Pool, death_cause
from g2rpo.distributed.group import ProcessGroup
from stages.contract.executor import Usage
from stages.contract.job import Job

_LAST_WORDS = 10.0  # seconds for the other processes of a group to fail or end, after the first failure


class RayProcessGroup:
    """Some runners of a pool as one process group.

    Args:
        pool: The pool.
        size: Number of runners.
    """

    def __init__(self, pool: Pool, size: int) -> None:
        self._pool, self._size = pool, size
        self._met: list[Actor] = []

    def update(self, job: Job) -> Usage:
        """Run the stage `update` in the process group; if a runner is lost, repeat it with another one.

        Raises:
            RunnersLostError: If too many runners are lost.
            Exception: The error of a runner.
        """
        while True:
            actors = self._meet()
            spent = self._together(actors, [lambda actor: actor.do.remote("update", job)] * len(actors))
            if spent is not None:
                return Usage.together(spent)

    def _meet(self) -> list[Actor]:
        """Return the runners of the process group, once they have joined it."""
        while True:
            actors = self._pool.take(self._size, first=self._met)
            if actors == self._met:
                return actors
            if self._met:
                self._part()
                continue
            address = self._together(actors[:1], [lambda actor: actor.address.remote()])
            if address is None:
                continue
            ranks = [ProcessGroup(rank, self._size) for rank in range(self._size)]
            joins = [partial(_join, process_group, address[0]) for process_group in ranks]
            if self._together(actors, joins) is not None:
                self._met = actors
                return actors

    def _part(self) -> None:
        """Restart the members of a group that has lost a runner: NCCL may hang when a process leaves such a group."""
        left, self._met = [actor for actor in self._met if actor in self._pool], []
        for actor in left:
            self._pool.replace(actor, "", counts=False)

    def _together(self, actors: Sequence[Actor], calls: Sequence[Callable[[Actor], Any]]) -> list[Any] | None:
        """Return the results of all calls; None if a runner was lost: the whole process group is then restarted."""
        refs = [call(actor) for call, actor in zip(calls, actors, strict=True)]
        try:
            return ray.get(refs)
        except (RayTaskError, RayActorError):
            lost, raised = self._last_words(refs)
        self._met = []
        for number, actor in enumerate(actors):  # the others may wait for the failed one forever
            self._pool.replace(actor, lost or "", counts=bool(lost) and number == 0)
        if lost is None:
            raise raised
        return None

    def _last_words(self, refs: Sequence[Any]) -> tuple[str | None, BaseException]:
        """Return why a runner was lost, or None, and the error to raise: the cause, not a consequence of it."""
        done, _ = ray.wait(list(refs), num_returns=len(refs), timeout=_LAST_WORDS)
        errors = list[BaseException]()
        for ref in done:
            try:
                ray.get(ref)
            except RayActorError as error:
                return death_cause(error), error
            except RayTaskError as error:
                errors.append(error.cause)
        errors.sort(key=lambda error: isinstance(error, RuntimeError))  # errors of torch.distributed are RuntimeErrors
        return None, errors[0]


def _join(process_group: ProcessGroup, address: str, actor: Actor) -> Any:
    return actor.join.remote(process_group, address)
