"""A runner: a process of the cluster that has its own models and executes stages on single shards."""

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
from stages.contract.executor import Usage
from stages.contract.job import Job
from stages.disk.files import file_digest
from stages.disk.tables import shard_path
from stages.engine.loaded_models import LoadedModels
from stages.engine.scoring import scored
from stages.params.record import Params

_PATIENCE = timedelta(minutes=30)  # a process waits so long for its process group; a dead one is noticed at once


class RayActor:
    """The body of a Ray actor. It reads and writes the store, which has the same path on every node.

    Args:
        params: The parameters; `resources.device` is the device of this runner.
        folder: The working directory of the flow; relative paths of params.yaml start there.
    """

    def __init__(self, params: Params, folder: str) -> None:
        os.chdir(folder)
        self._resources = LoadedModels(params)

    def ready(self) -> str:
        """Return where this runner is, once it has started. Example: `node-3, process 4711, cuda`."""
        return f"{socket.gethostname()}, process {os.getpid()}, {self._resources.device.type}"

    def do(self, stage: str, job: Job) -> Usage:
        """Do the work of a stage on the job's shards."""
        return self._resources.do(STAGES[stage], job)

    def encode(self, texts: Sequence[str]) -> int:
        """Encode the texts without a stored embedding, and return how many there were."""
        return self._resources.encode(texts)

    def score(self, job: Job, shard: int) -> tuple[str, pa.Table]:
        """Return the digest of a shard of completions and its rewards, before the table of completions is whole."""
        self._resources.need(*STAGES["score"].models)
        digest = file_digest(shard_path(job.inputs["completions"], shard))
        return digest, scored(job, self._resources, shard)

    def address(self) -> str:
        """Return the address at which a process group led by this runner meets."""
        host = ray.util.get_node_ip_address()
        return f"tcp://{host}:{free_port(host)}"

    def join(self, process_group: ProcessGroup, address: str) -> None:
        """Join a process group for all updates from now on; possible once per process."""
        if process_group.size > 1:
            backend = "nccl" if self._resources.device.type == "cuda" else "gloo"
            distributed.init_process_group(
                backend, init_method=address, rank=process_group.rank, world_size=process_group.size, timeout=_PATIENCE
            )
        self._resources.learn_with(process_group)
