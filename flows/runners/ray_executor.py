"""Stages by the actors of a Ray cluster, each with a device and models of its own.

The flow is the only controller: it hands out shards, and what comes back are files in the store and small records.
Noise hangs on positions, so the number of runners changes none of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from flows.runners.ray_cluster import Cluster, Need, connect, runner_needs, scorer_needs
from flows.runners.ray_group import RayProcessGroup
from flows.runners.ray_pool import Actor, Budget, Pool, Task
from stages.contract.declared_stages import EVALUATE, POLICY_INPUTS, STAGES, Stage
from stages.contract.executor import Spent
from stages.contract.job import Job
from stages.disk.tables import REWARDS, shard_path, write_shard
from stages.engine.evaluation_shards import pending
from stages.params.record import Params
from stages.sources.base_model import base_model
from stages.sources.device import run_device
from stages.store.manifest import read_manifest


@dataclass(frozen=True)
class _Staff:
    """Who is there."""

    cluster: Cluster
    painters: Pool
    """Roll out, complete, and judge held-out prompts."""
    scorers: Pool
    updaters: RayProcessGroup
    pools: Sequence[Pool]
    """All of them, each once."""


class RayExecutor:
    """Hands out the shards of stages to runners, which are started when the first work comes.

    Raises:
        ValueError: If the base model is not there.
    """

    def __init__(self, params: Params) -> None:
        base_model(params)
        self.device = run_device(params)
        self._params = params
        self._staff: _Staff | None = None
        self._ahead: dict[tuple[int, int], Task] = {}

    def do(self, stage: Stage, job: Job) -> Spent:
        """Write the job's tables; what needs no model is done in this process.

        Raises:
            RunnersLostError: If too many runners are lost, or none can be had.
            ValueError: If the cluster is not there.
        """
        if not stage.models:
            stage.load()(job, self)
            return Spent.together([])
        staff = self._at_work()
        if stage.name == "update":
            return staff.updaters.update(job)
        shards, pool = self._pending(stage, job), staff.painters
        if stage.name == "score":
            shards, pool = self._write_ahead(job, shards), staff.scorers
        tasks = [pool.submit(stage.name, shard, partial(_do, stage.name, job, shard)) for shard in shards]
        spent = list[Spent]()
        for task in pool.finished(tasks):
            spent.append(task.result)
            if stage.name == "complete":
                self._score_ahead(job, task.shard)
        pool.drop(tasks)
        return Spent.together(spent)

    def encode(self, texts: Sequence[str]) -> int:
        """Have one runner keep the embeddings of texts that are not kept yet; return how many there were."""
        pool = self._at_work().painters
        (task,) = pool.finished([pool.submit("encode", 0, lambda actor: actor.encode.remote(list(texts)))])
        return task.result

    def close(self) -> None:
        """End the runners, and the cluster if it is this run's own."""
        staff, self._staff = self._staff, None
        self._ahead.clear()
        if staff:
            for pool in staff.pools:
                pool.close()
            staff.cluster.leave()

    def _at_work(self) -> _Staff:
        if self._staff is None:
            asked, cluster = self._params.placement, connect(self._params)
            budget = Budget(asked.max_restarts)

            def pool(needs: Sequence[Need]) -> Pool:
                start = partial(cluster.start, self._params, needs[0])
                return Pool(start, len(needs), budget, cluster.patience)

            apart = asked.num_updating if asked.staleness else 0  # then those who update do nothing else
            runners, scoring = runner_needs(asked), scorer_needs(asked)
            painters = pool(runners[apart:])
            updaters = pool(runners[:apart]) if apart else painters
            scorers = pool(scoring) if scoring else painters
            each = {id(one): one for one in (painters, scorers, updaters)}.values()
            self._staff = _Staff(cluster, painters, scorers, RayProcessGroup(updaters, asked.num_updating), list(each))
        return self._staff

    def _pending(self, stage: Stage, job: Job) -> list[int]:
        if stage == EVALUATE:
            return pending(job)
        return job.pending_like(next(name for name in stage.inputs if name not in POLICY_INPUTS), *stage.outputs)

    def _score_ahead(self, job: Job, shard: int) -> None:
        """Have a shard of completions scored while others are still being completed."""
        inputs = {"prompts": job.inputs["prompts"], "completions": job.outputs["completions"]}
        score = Job(job.params, job.round_number, inputs, {}, stamp="")
        pool = self._at_work().scorers
        task = pool.submit("score", shard, lambda actor: actor.score.remote(score, shard))
        self._ahead[job.round_number, shard] = task
        pool.look()

    def _write_ahead(self, job: Job, shards: Sequence[int]) -> list[int]:
        """Write the shards that were scored ahead, from completions as they are now; return the others."""
        folder, left = job.inputs["completions"], list[int]()
        manifest = read_manifest(folder.parent, STAGES["complete"])
        files = manifest["outputs"]["completions"]["files"] if manifest else {}
        begun = {shard: task for shard in shards if (task := self._ahead.pop((job.round_number, shard), None))}
        scorers = self._at_work().scorers
        for _ in scorers.finished(begun.values()):
            pass
        scorers.drop(begun.values())
        for shard in shards:
            task = begun.get(shard)
            if task and task.result[0] == files.get(shard_path(folder, shard).name):
                write_shard(job.outputs["rewards"], shard, REWARDS, task.result[1], stamp=job.stamp)
            else:
                left.append(shard)
        return left


def _do(stage: str, job: Job, shard: int, actor: Actor) -> Any:
    return actor.do.remote(stage, replace(job, shards=(shard,)))
