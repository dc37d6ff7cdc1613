"""The update by several runners: they meet as ranks of one process group and take each step together."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from flows.runners.ray_pool import Actor, Pool, told
from g2rpo.distributed.group import ProcessGroup
from stages.contract.executor import Spent
from stages.contract.job import Job

_LAST_WORDS = 10.0  # seconds for the others of a process group to fail, or to end, once one has failed


class RayProcessGroup:
    """Some runners of a pool as one process_group.

    Args:
        pool: Whose.
        size: How many.
    """

    def __init__(self, pool: Pool, size: int) -> None:
        self._pool, self._size = pool, size
        self._met: list[Actor] = []

    def update(self, job: Job) -> Spent:
        """Have the process group do the stage `update`; if one of it is lost, with another in its place.

        Raises:
            RunnersLostError: If too many are lost.
            Exception: What one of them raises.
        """
        while True:
            actors = self._meet()
            spent = self._together(actors, [lambda actor: actor.do.remote("update", job)] * len(actors))
            if spent is not None:
                return Spent.together(spent)

    def _meet(self) -> list[Actor]:
        """Return the process group's runners, who know each other."""
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
        """Start those anew who knew one that is gone: NCCL may hang where such a group is left."""
        left, self._met = [actor for actor in self._met if actor in self._pool], []
        for actor in left:
            self._pool.replace(actor, "", counts=False)

    def _together(self, actors: Sequence[Actor], calls: Sequence[Callable[[Actor], Any]]) -> list[Any] | None:
        """Return what each brings; None if one was lost: then the whole process group is started anew."""
        refs = [call(actor) for call, actor in zip(calls, actors, strict=True)]
        try:
            return ray.get(refs)
        except (RayTaskError, RayActorError):
            lost, raised = self._last_words(refs)
        self._met = []
        for number, actor in enumerate(actors):  # the others may wait for it for ever
            self._pool.replace(actor, lost or "", counts=bool(lost) and number == 0)
        if lost is None:
            raise raised
        return None

    def _last_words(self, refs: Sequence[Any]) -> tuple[str | None, BaseException]:
        """Return how a runner was lost, if one was, and else the error to tell: not that of one who was left alone."""
        came, _ = ray.wait(list(refs), num_returns=len(refs), timeout=_LAST_WORDS)
        errors = list[BaseException]()
        for ref in came:
            try:
                ray.get(ref)
            except RayActorError as error:
                return told(error), error
            except RayTaskError as error:
                errors.append(error.cause)
        errors.sort(key=lambda error: isinstance(error, RuntimeError))  # as those of torch.distributed are
        return None, errors[0]


def _join(process_group: ProcessGroup, address: str, actor: Actor) -> Any:
    return actor.join.remote(process_group, address)
