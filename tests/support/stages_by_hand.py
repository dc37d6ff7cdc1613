"""Whole runs in milliseconds: stages done without a model, by numbers that can be followed by hand.

A policy is one number w, 0 for the base, which each update raises by 1. A round paints two prompts, a shard each, in
one window of step 0, two branches of the granularities 1 and 2; a picture's reward is w + 2 branch granularity.
"""

import numpy as np
import torch

from g2rpo.trainer import OptimizerSettings, Trainer
from stages.contract.executor import Usage
from stages.disk import tables as t
from stages.disk.policy_files import read_weights, write_policy
from stages.disk.policy_state import policy_state
from stages.disk.tables import arrow, read_table, tensor, write_shard

EACH = {"prompt": 2, "branch": 2}
"""How many there are in a round."""
GRANULARITIES = (1, 2)
_SETTINGS = OptimizerSettings(0.1, (0.9, 0.999), 0.0, 1.0, None)


class StagesByHand:
    """Does stages as the models of a process do them: from the tables before, the same from the same."""

    device = torch.device("cpu")

    def __init__(self, off=0.0, killed_in=None):
        self.off = off
        """How far its pictures, rewards and weights lie off, as on another machine."""
        self.killed_in = killed_in
        """Name and round of the stage in which Ctrl-C interrupts it."""
        self.done = []
        """Name and round of each stage that was done."""

    def do(self, stage, job):
        if (stage.name, job.round_number) == self.killed_in:
            raise KeyboardInterrupt
        self.done.append((stage.name, job.round_number))
        getattr(self, f"_{stage.name}")(job)
        return Usage(cpu_seconds=0.5, peak_bytes=100)

    def encode(self, texts):
        return 0

    def close(self):
        pass

    def _prompts(self, job):
        for shard in job.pending(range(EACH["prompt"]), "prompts"):
            named = {"prompt_id": [f"p{shard}"], "text": ["a red circle"], "split": ["train"], "metadata": ["{}"]}
            _write(job, t.PROMPTS, shard, named | {"noise_seed": [100 * job.round_number + shard]})

    def _rollout(self, job):
        w = weight(job.inputs["behaviour_policy"]) + self.off
        for shard in job.pending_like("prompts", "anchors", "transitions"):
            (name,) = job.read("prompts", shard)["prompt_id"].to_pylist()
            levels = {"sigma": 1.0, "sigma_next": 0.5}
            anchors = {"prompt_id": name, "origin": t.SHARED, "step": 0} | levels
            _write_each(job, t.ANCHORS, shard, [anchors | {"latents": [w, 0.0], "velocity": [0.0, w]}])
            branch = {"prompt_id": name, "window": 0, "step": 0, "origin": t.SHARED, "log_prob": -1.0} | levels
            _write_each(
                *(job, t.TRANSITIONS, shard),
                [branch | {"branch": b, "seed": 10 * shard + b, "next_latents": [w, 2.0 * b]} for b in (0, 1)],
                evaluations=3,
            )

    def _complete(self, job):
        for shard in job.pending_like("transitions", "completions", "diversity"):
            rows = job.read("transitions", shard)
            (w, step), (name, _) = tensor(rows, "next_latents")[1].tolist(), rows["prompt_id"].to_pylist()
            cells = [(b, g) for b in (0, 1) for g in GRANULARITIES]
            of = {"prompt_id": name, "window": 0}
            completions = [
                of | {"branch": b, "granularity": g, "evaluations": 4 - g, "latents": [w, step * b * g]}
                for b, g in cells
            ]
            _write_each(job, t.COMPLETIONS, shard, completions, evaluations=10)
            _write_each(job, t.DIVERSITY, shard, [of | {"granularity": g, "value": float(g)} for g in GRANULARITIES])

    def _score(self, job):
        for shard in job.pending_like("completions", "rewards"):
            rows = job.read("completions", shard)
            values = tensor(rows, "latents").sum(axis=1).astype(float) + self.off
            kept = {name: rows[name] for name in ("prompt_id", "window", "branch", "granularity")}
            _write(job, t.REWARDS, shard, kept | {"reward": ["judge_a"] * len(values), "value": values})

    def _integrate(self, job):
        for shard in job.pending_like("rewards", "advantages"):
            rows = job.read("rewards", shard).to_pandas()
            _write_each(job, t.ADVANTAGES, shard, [_advantage(rows, branch) for branch in (0, 1)])

    def _update(self, job):
        before = job.inputs["previous_policy"]
        network = torch.nn.Linear(1, 1, bias=False)
        network.weight.data.fill_(weight(before))
        trainer = Trainer(network, _SETTINGS)
        network.weight.data.fill_(weight(before) + 1 + self.off)
        trainer.num_steps = policy_state(before).num_steps + 1
        rows = read_table(job.inputs["transitions"])
        assert len(read_table(job.inputs["advantages"])) == len(rows)
        sites = {name: rows[name] for name in ("prompt_id", "window", "branch", "step")}
        _write(job, t.OLD_LOG_PROBS, 0, sites | {"log_prob_old": rows["log_prob"]})
        told = dict.fromkeys(t.UPDATES.columns, 0.0) | {"ratio_mean": 1.0, "ratio_min": 1.0, "ratio_max": 1.0}
        rate = job.params.update.learning_rate
        step = told | {"optimizer_step": trainer.num_steps - 1, "grad_norm": 0.5, "learning_rate": rate}
        _write_each(job, t.UPDATES, 0, [step], evaluations=16)
        write_policy(job.outputs["policy"], trainer)

    def _evaluate(self, job):
        w, chosen = weight(job.inputs["policy"]), job.params.evaluate
        of = {"policy_round": job.round_number, "num_steps": 4, "text": "a red circle"}
        named = [f"{chosen.split}-{row}" for row in (0, 1)]
        rows = [of | {"prompt_id": name, "reward": r, "value": w / 10} for r in chosen.rewards for name in named]
        _write_each(job, t.EVALUATIONS, 0, rows)
        pictures = {name: [of[name]] * 2 for name in of} | {"prompt_id": named}
        _write(job, t.PICTURES, 0, pictures | {"image": np.full((2, 2, 2, 3), job.round_number, np.uint8)})


def weight(folder):
    """The number that a stored policy is."""
    if policy_state(folder).is_base:
        return 0.0
    return read_weights(folder, averaged=False)["weight"].item()


def _advantage(rewards, branch):
    """A branch of a group of two: its standardised rewards, which are all 1 / sqrt(2) or all -1 / sqrt(2)."""
    summands = []
    for granularity, group in rewards.groupby("granularity"):
        mean, std = group["value"].mean(), group["value"].std()
        (value,) = group[group["branch"] == branch]["value"]
        told = {"group_mean": mean, "group_std": std, "divisor": std, "weight": 1.0, "floored": False}
        summands.append({"reward": "judge_a", "granularity": granularity, "standardised": (value - mean) / std} | told)
    total = sum(summand["standardised"] for summand in summands)
    named = {"prompt_id": rewards["prompt_id"].iloc[0], "window": 0, "branch": branch}
    return named | {"advantage": total, "clamped": False, "summands": summands}


def _write_each(job, table, shard, rows, evaluations=0):
    columns = {name: [row[name] for row in rows] for name in table.columns}
    tensors = {name: np.array(columns[name], np.float32) for name, kind in table.columns.items() if kind == t.TENSOR}
    _write(job, table, shard, columns | tensors, evaluations)


def _write(job, table, shard, columns, evaluations=0):
    rows = arrow(table, columns)
    write_shard(job.outputs[table.name], shard, table, rows, stamp=job.stamp, evaluations=evaluations)
