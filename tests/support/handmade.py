"""Runs whose tables and metrics are written by hand, so that what is read from them can be derived by hand."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from damage import edit
from manifests import manifest
from tiny import tiny_params

from stages.contract.declared_stages import EVALUATE
from stages.disk.policy_state import write_base
from stages.disk.tables import EVALUATIONS, PICTURES, REWARDS, arrow, shard_path, write_shard
from stages.store.manifest import described, write_manifest
from stages.store.run import open_run

TEXTS = ("a red circle", "a blue square", "a green triangle", "a yellow circle")
ROUND = {
    "reward/judge_a/mean": 0.5,
    "reward/judge_a/step_0/spread": 0.1,
    "reward/judge_a/step_1/spread": 0.2,
    "update/kl": 0.01,
    "update/grad_norm": 1.0,
    "update/clip_frac": 0.25,
    "update/loss": -0.5,
    "evaluations": 100.0,
    "cpu_seconds": 2.5,
    "seconds/rollout": 1.5,
    "seconds/update": 0.5,
}
"""The metrics of a round where nothing else is said."""


def begun(*overrides):
    """A tiny run without a round, and its parameters."""
    params = tiny_params(*overrides)
    return open_run(params, device="cpu"), params


def finish(run, changed=()):
    """Have one more round done, its metrics those of ROUND with some changed, or left out where they are None."""
    number = run.num_finished
    write_base(run.policy_folder(number + 1), f"policy {number + 1}")
    metrics = {"round": number + 1.0} | ROUND | dict(changed)
    run.write_metrics(number, {name: value for name, value in metrics.items() if value is not None})
    run.finish_round(number)


def judge(run, params, policy_round, split="tuning", num_steps=(4,), **values):
    """Have a policy judged: rewards by name with a value a text; those of `evaluate.rewards` not named get 0.

    The first two captions keep pictures of 16 x 16, whose pixels are 100 + policy_round and 200 + policy_round, and
    20 more at the second number of inference steps.
    """
    folder = run.evaluation_folder(policy_round, split)
    rewards = dict.fromkeys(params.evaluate.rewards, [0.0] * 4) | values
    count = max(len(given) for given in values.values()) if values else 4
    rows = [(steps, row, name) for steps in num_steps for row in range(count) for name in rewards]
    columns = {
        "policy_round": [policy_round] * len(rows),
        "prompt_id": [f"{split}-{row}" for _, row, _ in rows],
        "num_steps": [steps for steps, _, _ in rows],
        "reward": [name for _, _, name in rows],
        "text": [TEXTS[row % 4] for _, row, _ in rows],
        "value": [float(rewards[name][row]) for _, row, name in rows],
    }
    write_shard(folder / "evaluations", 0, EVALUATIONS, arrow(EVALUATIONS, columns), stamp="1")
    first, second = 100 + policy_round, 200 + policy_round
    kept = [(steps, row) for steps in num_steps for row in range(2)]
    shades = np.array([(first, second)[row] + 20 * num_steps.index(steps) for steps, row in kept], np.uint8)
    pictures = {
        "policy_round": [policy_round] * len(kept),
        "prompt_id": [f"{split}-{row}" for _, row in kept],
        "num_steps": [steps for steps, _ in kept],
        "text": [TEXTS[row] for _, row in kept],
        "image": np.broadcast_to(shades[:, None, None, None], (len(kept), 16, 16, 3)),
    }
    write_shard(folder / "pictures", 0, PICTURES, arrow(PICTURES, pictures), stamp="1")
    outputs = {name: described(folder / name) for name in EVALUATE.outputs}
    write_manifest(folder, EVALUATE, manifest(EVALUATE, parameters=EVALUATE.parameters(params, 0), outputs=outputs))
    return folder


def forge(folder, name, change):
    """Change a table of an evaluation as somebody who knows of digests and seals: they fit."""
    rows = change(pq.read_table(shard_path(folder / name, 0)))
    pq.write_table(rows, shard_path(folder / name, 0), compression="none")
    edit(folder / "evaluate.json", lambda manifest: manifest["outputs"].update({name: described(folder / name)}))


def without(reward):
    """Evaluations that lack a reward."""
    return lambda rows: rows.filter(pc.field("reward") != reward)


def first_value(number):
    """Evaluations whose first value is this number."""
    return lambda rows: _with(rows, "value", pa.array([number, *rows["value"].to_pylist()[1:]]))


def images(*shape, kind=np.uint8):
    """Pictures of another shape."""
    return lambda rows: _with(
        rows, "image", pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((len(rows), *shape), kind))
    )


def _with(rows, name, column):
    return rows.set_column(rows.column_names.index(name), name, column)


def reward(run, number, groups, name="judge_a"):
    """Write the rewards of a round: values of the branches by prompt, step and granularity."""
    rows = [(*group, branch, value) for group, values in groups.items() for branch, value in enumerate(values)]
    prompts, steps, granularities, branches, values = zip(*rows, strict=True)
    columns = {"prompt_id": prompts, "window": steps, "branch": branches, "granularity": granularities}
    rewards = arrow(REWARDS, columns | {"reward": [name] * len(rows), "value": values})
    write_shard(run.round_folder(number) / "rewards", 0, REWARDS, rewards, stamp="1")
