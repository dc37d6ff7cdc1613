"""Whole runs of a comparison, made by hand: as a report is told of them, and as the store holds them."""

import numpy as np
from comparisons import write_plan

from flows.compare.cells import cells_of
from flows.compare.plan import load_plan
from flows.compare.stored import Measured, Placed
from stages.contract.declared_stages import EVALUATE
from stages.contract.executor import Usage
from stages.disk.policy_state import write_base
from stages.disk.root import store_root
from stages.disk.tables import EVALUATIONS, PICTURES, arrow, write_shard
from stages.engine.execute import execute, run_stage
from stages.store.run import Run, open_run

ROUND = {
    "evaluations": 92.0,
    "cpu_seconds": 3.0,
    **{"seconds/rollout": 1.5, "seconds/update": 0.5},
    **{"peak_bytes/rollout": 2.0**29, "peak_bytes/update": 2.0**30},
}
"""What a round has spent: two wall-seconds, and at most a GiB."""
LEVELS = {"judge_a": 0.5, "judge_b": 0.75, "rule_soft": 0.25, "rule_strict": 0.125}
"""Scores of the base."""
GAINS = {("fine", 7): 0.1, ("fine", 8): 0.2, ("coarse", 7): 0.3, ("coarse", 8): 0.5}
"""What a method has gained with a seed in the end, whatever the reward."""
CAPTIONS = {"p0": "a red square", "p1": "a blue circle"}


def gain(cell):
    """What a run has gained in the end: so much more where its point or variant trains by another clip_range."""
    return GAINS[cell.method, cell.seed] + cell.params.update.clip_range - 1e-4


def scores(by, policy_round, split, gained):
    """The rows of an evaluation of two captions: the base's levels, and what was gained since."""
    return [
        {"policy_round": policy_round, "split": split, "num_steps": number, "reward": reward}
        | {"value": LEVELS[reward] + gained, "prompts": 2}
        for number in by.evaluate.num_steps
        for reward in by.evaluate.rewards
    ]


def cells_in(folder, **changes):
    """A plan as tests/support/comparisons.py has it, with other keys, and its cells."""
    path = write_plan(folder, **changes)
    plan = load_plan(path)
    return plan, cells_of(plan, path.parent)


def measured_by_hand(folder, **changes):
    """A plan, and its runs as a report is told of them: two rounds each, judged before and after."""
    plan, cells = cells_in(folder, **changes)
    return plan, [_measured(Placed(cell, Run(store_root() / "runs" / cell.slug), plan.split)) for cell in cells]


def _measured(placed):
    params, last = placed.cell.params, placed.cell.params.run.rounds
    by, gained = placed.by, gain(placed.cell)
    curve = [*scores(params, 0, params.evaluate.split, 0.0), *scores(params, last, params.evaluate.split, gained)]
    final = scores(by, last, placed.split, gained) if placed.split != params.evaluate.split else []
    links = {"git_commit": "fae7c60", "torch": "2.13", "machine": "a processor"}
    return Measured(placed, [ROUND] * last, curve + final, scores(by, 0, placed.split, 0.0), links)


class ByHand:
    """Does the stage `evaluate` without a model: two captions, the scores of a run that has gained so much."""

    def __init__(self, gained=0.0):
        self.gained, self.jobs, self.closed = gained, [], 0

    def do(self, stage, job):
        assert stage == EVALUATE
        self.jobs.append(job)
        by = job.params
        rows = scores(by, job.round_number, by.evaluate.split, self.gained if job.round_number else 0.0)
        rows = [row | {"prompt_id": name, "text": text} for row in rows for name, text in CAPTIONS.items()]
        columns = {name: [row[name] for row in rows] for name in EVALUATIONS.columns}
        write_shard(job.outputs["evaluations"], 0, EVALUATIONS, arrow(EVALUATIONS, columns), stamp=job.stamp)
        write_pictures(job.outputs["pictures"], policy_round=job.round_number, stamp=job.stamp)
        return Usage(0.0, 0)

    def close(self):
        self.closed += 1


def write_pictures(folder, captions=CAPTIONS, *, policy_round=0, edge=4, stamp="1"):
    """Write the pictures that an evaluation keeps: each of one grey, the first one black."""
    count = len(captions)
    image = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, edge, edge, 3), np.uint8)
    about = {"policy_round": [policy_round] * count, "num_steps": [4] * count}
    columns = about | {"prompt_id": [*captions], "text": [*captions.values()], "image": image}
    write_shard(folder, 0, PICTURES, arrow(PICTURES, columns), stamp=stamp)


def begin(placed):
    """Make a placed run's folder in the store."""
    run = open_run(placed.cell.params, device="cpu")
    assert run == placed.run
    return run


def train(placed):
    """Finish the rounds of a placed run, in which nothing was computed."""
    run = begin(placed)
    run.begin_session({"git_commit": "fae7c60", "machine": "a processor"})
    for number in range(placed.cell.params.run.rounds):
        run.write_metrics(number, ROUND)
        run.finish_round(number)
        write_base(run.policy_folder(number + 1), f"policy {number + 1}")
    return run


def make_whole(placed):
    """Finish a placed run and judge it, and the base, as its plan asks."""
    run, params, executor = train(placed), placed.cell.params, ByHand(gain(placed.cell))
    last = params.run.rounds
    for policy_round in (0, last):
        run_stage(run, EVALUATE, policy_round, params, executor)
    run_stage(run, EVALUATE, last, placed.by, executor)
    execute(EVALUATE, placed.base, {"policy": run.policy_folder(0)}, placed.by, executor, number=0)
    return run
