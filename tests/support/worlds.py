"""Updates by several real processes that meet over gloo."""

import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from tiny import tiny_params
from torch import distributed

from flows.common.processes import free_port
from flows.runners.ray_actor import Runner
from g2rpo.distributed.group import World
from stages.contract.declared_stages import STAGES
from stages.contract.job import Job
from stages.engine.loaded_models import Resources
from stages.params.record import Params

_LONGEST = 300  # seconds
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
    address = f"tcp://127.0.0.1:{free_port()}"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_IMPORTED])
    told = (address, os.environ["G2RPO_HOME"], updates)
    members = [context.Process(target=_member, args=(World(rank, size), *told)) for rank in range(size)]
    for member in members:
        member.start()
    for member in members:
        member.join(_LONGEST)
    ended = [member.exitcode for member in members]
    for member in members:
        member.kill()
    assert ended == [0] * size


def joined(size, folder):
    """Have so many runners join a world, each in a process of its own, and add up what they are of it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_IMPORTED])
    address = f"tcp://127.0.0.1:{free_port()}"
    told = context.SimpleQueue()
    members = [context.Process(target=_joins, args=(World(rank, size), address, folder, told)) for rank in range(size)]
    for member in members:
        member.start()
    for member in members:
        member.join(_LONGEST)
    assert [member.exitcode for member in members] == [0] * size
    return sorted(told.get() for _ in members)


def _joins(world, address, folder, told):
    runner = Runner(tiny_params(), folder)
    runner.join(world, address)
    ranks = torch.tensor([distributed.get_rank()])
    distributed.all_reduce(ranks)
    told.put((runner._resources.learning.world.rank, runner._resources.learning.world.size, int(ranks)))
    distributed.destroy_process_group()


def _member(world, address, home, updates):
    os.environ["G2RPO_HOME"] = home
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=address, rank=world.rank, world_size=world.size)
    for update in updates:
        resources = Resources(update.params)
        resources.learn_with(world)
        update.do(resources)
    distributed.destroy_process_group()
