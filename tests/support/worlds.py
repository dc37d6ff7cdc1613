"""Updates by several real processes that meet over gloo."""

import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from tiny import tiny_params
from torch import distributed

from flows.common.processes import free_port
from flows.runners.ray_actor import RayActor
from g2rpo.distributed.group import ProcessGroup
from stages.contract.declared_stages import STAGES
from stages.contract.job import Job
from stages.engine.loaded_models import LoadedModels
from stages.params.record import Params

_LONGEST = 600  # seconds
_CONTEXT = multiprocessing.get_context("forkserver")
_IMPORTED = ("torch._dynamo", "torch.distributed.fsdp", "diffusers.models", "peft", "transformers", "stages.update")
"""Once, by a process of which the members are forked; it has computed nothing, so that this is safe."""


@dataclass(frozen=True)
class Update:
    """The update of a round of a run, into a folder of its own."""

    params: Params
    number: int
    inputs: dict[str, Path]
    out: Path

    @classmethod
    def of(cls, run, params, number, out, **inputs):
        return cls(params, number, run.inputs(STAGES["update"], number) | inputs, out)

    @classmethod
    def shared(cls, run, params, number, out, how, **inputs):
        """As several processes do it: by `ddp`, `fsdp` or as `auto` chooses."""
        asked = params.placement.model_copy(update={"runner": "ray", "num_runners": 2, "parallel": how})
        return cls.of(run, params.model_copy(update={"placement": asked}), number, out, **inputs)

    def do(self, resources):
        stage = STAGES["update"]
        outputs = {name: self.out / name for name in stage.outputs}
        stage.load()(Job(self.params, self.number, self.inputs, outputs, stamp="1"), resources)


def together(size, updates):
    """Have so many processes do updates, one after another."""
    _in_processes(size, _member, os.environ["G2RPO_HOME"], updates)


def joined(size, folder):
    """Have so many runners join a process group, each in a process of its own, and add up what they are of it."""
    told = _CONTEXT.SimpleQueue()
    _in_processes(size, _joins, folder, told)
    return sorted(told.get() for _ in range(size))


def _in_processes(size, member, *told):
    """Call a member for each rank, with the address where all meet, in a process of its own; none may fail."""
    address = f"tcp://127.0.0.1:{free_port()}"
    _CONTEXT.set_forkserver_preload([*_IMPORTED])
    members = [_CONTEXT.Process(target=member, args=(ProcessGroup(rank, size), address, *told)) for rank in range(size)]
    for one in members:
        one.start()
    for one in members:
        one.join(_LONGEST)
    ended = [one.exitcode for one in members]
    for one in members:
        one.kill()
    assert ended == [0] * size


def _joins(process_group, address, folder, told):
    runner = RayActor(tiny_params(), folder)
    runner.join(process_group, address)
    ranks = torch.tensor([distributed.get_rank()])
    distributed.all_reduce(ranks)
    told.put((runner._resources.learning.process_group.rank, runner._resources.learning.process_group.size, int(ranks)))
    distributed.destroy_process_group()


def _member(process_group, address, home, updates):
    os.environ["G2RPO_HOME"] = home
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=address, rank=process_group.rank, world_size=process_group.size)
    for update in updates:
        resources = LoadedModels(update.params)
        resources.learn_with(process_group)
        update.do(resources)
    distributed.destroy_process_group()
