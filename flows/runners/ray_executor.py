"""Execution of stages by the actors of a Ray cluster, each with its own device and models.

The flow is the only controller: it hands out shards, and gets back files in the store and small records. Noise depends
on positions, so the number of runners does not change it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from flows.runners.ray_cluster import Cluster, Need, connect, runner_needs, scorer_needs
from flows.runners.ray_group import RayProcessGroup
from flows.runners.ray_pool import Actor, Budget, Pool, Task
from stages.contract.declared_stages import EVALUATE, POLICY_INPUTS, STAGES, Stage
from stages.contract.executor import Usage
from stages.contract.job import Job
from stages.disk.tables import REWARDS, shard_path, write_shard
from stages.engine.evaluation_shards import pending
from stages.params.record import Params
from stages.sources.base_model import base_model
from stages.sources.device import run_device
from stages.store.manifest import read_manifest


@dataclass(frozen=True)
class _Runners:
    """The cluster and its runners, by what they do."""

    cluster: Cluster
    samplers: Pool
    """Roll out, complete, and evaluate held-out prompts."""
    scorers: Pool
    updaters: RayProcessGroup
    pools: Sequence[Pool]
    """All pools, each once."""


class RayExecutor:
    """Hands out the shards of stages to runners, and starts them with the first stage that needs them.

    Raises:
        ValueError: If the base model is missing.
    """

    def __init__(self, params: Params) -> None:
        base_model(params)
        self.device = run_device(params)
        self._params = params
        self._runners: _Runners | None = None
        self._ahead: dict[tuple[int, int], Task] = {}

    def do(self, stage: Stage, job: Job) -> Usage:
        """Write the job's tables; stages without a model run in this process.

        Raises:
            RunnersLostError: If too many runners are lost, or none starts.
            ValueError: If the cluster does not answer.
        """
        if not stage.models:
            stage.load()(job, self)
            return Usage.together([])
        runners = self._started()
        if stage.name == "update":
            return runners.updaters.update(job)
        shards, pool = self._pending(stage, job), runners.samplers
        if stage.name == "score":
            shards, pool = self._write_ahead(job, shards), runners.scorers
        tasks = [pool.submit(stage.name, shard, partial(_do, stage.name, job, shard)) for shard in shards]
        spent = list[Usage]()
        for task in pool.finished(tasks):
            spent.append(task.result)
            if stage.name == "complete":
                self._score_ahead(job, task.shard)
        pool.drop(tasks)
        return Usage.together(spent)

    def encode(self, texts: Sequence[str]) -> int:
        """Have one runner encode the texts without a stored embedding; return how many there were."""
        pool = self._started().samplers
        (task,) = pool.finished([pool.submit("encode", 0, lambda actor: actor.encode.remote(list(texts)))])
        return task.result

    def close(self) -> None:
        """End the runners, and the cluster if this run has started it."""
        runners, self._runners = self._runners, None
        self._ahead.clear()
        if runners:
            for pool in runners.pools:
                pool.close()
            runners.cluster.leave()

    def _started(self) -> _Runners:
        if self._runners is None:
            placement, cluster = self._params.placement, connect(self._params)
            budget = Budget(placement.max_restarts)

            def pool(needs: Sequence[Need]) -> Pool:
                start = partial(cluster.start, self._params, needs[0])
                return Pool(start, len(needs), budget, cluster.patience)

            num_apart = placement.num_updating if placement.staleness else 0  # runners that only update
            runners, scoring = runner_needs(placement), scorer_needs(placement)
            samplers = pool(runners[num_apart:])
            updaters = pool(runners[:num_apart]) if num_apart else samplers
            scorers = pool(scoring) if scoring else samplers
            pools = list({id(one): one for one in (samplers, scorers, updaters)}.values())
            group = RayProcessGroup(updaters, placement.num_updating)
            self._runners = _Runners(cluster, samplers, scorers, group, pools)
        return self._runners

    def _pending(self, stage: Stage, job: Job) -> list[int]:
        if stage == EVALUATE:
            return pending(job)
        return job.pending_like(next(name for name in stage.inputs if name not in POLICY_INPUTS), *stage.outputs)

    def _score_ahead(self, job: Job, shard: int) -> None:
        """Let a shard of completions be scored while others are still being completed."""
        inputs = {"prompts": job.inputs["prompts"], "completions": job.outputs["completions"]}
        score = Job(job.params, job.round_number, inputs, {}, stamp="")
        pool = self._started().scorers
        task = pool.submit("score", shard, lambda actor: actor.score.remote(score, shard))
        self._ahead[job.round_number, shard] = task
        pool.look()

    def _write_ahead(self, job: Job, shards: Sequence[int]) -> list[int]:
        """Write the rewards that were scored ahead from the present completions; return the other shards."""
        folder, left = job.inputs["completions"], list[int]()
        manifest = read_manifest(folder.parent, STAGES["complete"])
        files = manifest["outputs"]["completions"]["files"] if manifest else {}
        begun = {shard: task for shard in shards if (task := self._ahead.pop((job.round_number, shard), None))}
        scorers = self._started().scorers
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
