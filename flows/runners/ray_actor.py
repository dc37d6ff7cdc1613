"""What runs in a process of the cluster: models of its own, and the work of stages on single shards."""

import os
import socket
from collections.abc import Sequence
from datetime import timedelta

import pyarrow as pa
import ray
from torch import distributed

from flows.common.processes import free_port
from g2rpo.distributed.group import ProcessGroup
from stages.contract.declared_stages import STAGES
from stages.contract.executor import Spent
from stages.contract.job import Job
from stages.disk.files import file_digest
from stages.disk.tables import shard_path
from stages.engine.loaded_models import Resources
from stages.engine.scoring import scored
from stages.params.record import Params

_PATIENCE = timedelta(minutes=30)  # of a process for the others of its process group; a dead one is noticed at once


class RayActor:
    """The body of a Ray actor. It reads and writes the store, which lies at the same path on every node.

    Args:
        params: Whose `resources.device` says what this runner computes on.
        folder: The folder that the flow was started in; relative paths of params.yaml begin there.
    """

    def __init__(self, params: Params, folder: str) -> None:
        os.chdir(folder)
        self._resources = Resources(params)

    def ready(self) -> str:
        """Say where this runner is, once it is. Example: `node-3, process 4711, cuda`."""
        return f"{socket.gethostname()}, process {os.getpid()}, {self._resources.device.type}"

    def do(self, stage: str, job: Job) -> Spent:
        """Do the work of a stage on the job's shards."""
        return self._resources.do(STAGES[stage], job)

    def encode(self, texts: Sequence[str]) -> int:
        """Keep the embeddings of texts that are not kept yet, and return how many there were."""
        return self._resources.encode(texts)

    def score(self, job: Job, shard: int) -> tuple[str, pa.Table]:
        """Return the rewards of a shard, before the table of completions is whole, with the shard's digest."""
        self._resources.need(*STAGES["score"].models)
        digest = file_digest(shard_path(job.inputs["completions"], shard))
        return digest, scored(job, self._resources, shard)

    def address(self) -> str:
        """Return where a process group may meet that this runner leads."""
        host = ray.util.get_node_ip_address()
        return f"tcp://{host}:{free_port(host)}"

    def join(self, process_group: ProcessGroup, address: str) -> None:
        """Learn as one of a process group's processes from now on; once in a process's life."""
        if process_group.size > 1:
            backend = "nccl" if self._resources.device.type == "cuda" else "gloo"
            distributed.init_process_group(
                backend, init_method=address, rank=process_group.rank, world_size=process_group.size, timeout=_PATIENCE
            )
        self._resources.learn_with(process_group)
