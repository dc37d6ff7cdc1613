"""Stage `update`: the optimizer steps of a round, from tables to the next policy.

The update computes the old log-probabilities itself, before its first step changes a weight.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from g2rpo.optimise import Sites, old_log_probs, optimise
from g2rpo.velocity import VelocityField
from g2rpo.windows import trained_steps
from stages.contract.job import Job
from stages.disk.foreign_keys import check_foreign_key, check_parents
from stages.disk.policy_files import write_policy
from stages.disk.tables import OLD_LOG_PROBS, UPDATES, arrow, read_table, tensor, write_shard
from stages.engine.loaded_models import LoadedModels
from stages.engine.rules import learning_rate, optimizer_settings, update_rule
from stages.params.update import UpdateParams

_BRANCH = ["prompt_id", "window", "branch"]
_SITE = ["prompt_id", "origin", "step"]


def run(job: Job, resources: LoadedModels) -> None:
    """Write the old log-probabilities, one row per optimizer step, and the new policy.

    The processes of a process group call this together; each trains on its share, and the first one writes.
    """
    settings, previous = job.params.update, job.inputs["previous_policy"]
    learning = resources.learning
    process_group, field = learning.process_group, learning.field(previous, settings.micro_batch)
    base = resources.base_field(settings.micro_batch)
    rule = update_rule(job.params, job.round_number, resources.sigmas(job.params.rollout.num_steps))
    transitions = _trained_transitions(job)
    sites = _sites(job, resources, field, transitions)
    log_prob_old = _stored_log_probs(transitions, sites) if rule.off_policy else old_log_probs(field, sites, rule)
    trainer = learning.trainer(previous, optimizer_settings(settings))
    trainer.learning_rate = rate = learning_rate(settings, job.round_number)
    first_step = trainer.num_steps
    reports = list(optimise(field, base, trainer, sites=sites, log_prob_old=log_prob_old, rule=rule))
    log_prob_old = process_group.joined(log_prob_old)
    gap = _gap(log_prob_old, transitions, settings)
    spent = sum(process_group.gathered([field.evaluations + base.evaluations]))
    if process_group.leads:
        columns = {name: transitions[name] for name in (*_BRANCH, "step")}
        old = arrow(OLD_LOG_PROBS, columns | {"log_prob_old": log_prob_old.cpu().numpy()})
        check_parents(old, OLD_LOG_PROBS, {"transitions": transitions})
        write_shard(job.outputs["old_log_probs"], 0, OLD_LOG_PROBS, old, stamp=job.stamp)
        updates = {name: [getattr(report, name) for report in reports] for name in vars(reports[0])}
        updates |= {
            "optimizer_step": [first_step + number for number in range(len(reports))],
            "learning_rate": [rate] * len(reports),
            "log_prob_gap": [gap] * len(reports),
        }
        write_shard(job.outputs["updates"], 0, UPDATES, arrow(UPDATES, updates), stamp=job.stamp, evaluations=spent)
    write_policy(job.outputs["policy"], trainer, leads=process_group.leads)
    process_group.wait()
    learning.trained(job.outputs["policy"])


def _trained_transitions(job: Job) -> pa.Table:
    """Return the transitions that the round trains on: all, or a share of each branch's steps."""
    transitions, frac = read_table(job.inputs["transitions"]), job.params.update.train_frac
    if frac == 1:
        return transitions
    prompts = read_table(job.inputs["prompts"])
    seed_of = dict(zip(prompts["prompt_id"].to_pylist(), prompts["noise_seed"].to_pylist(), strict=True))
    windows: dict[tuple[Any, ...], list[int]] = {}
    for *branch, step in _zip(transitions, [*_BRANCH, "step"]):
        windows.setdefault(tuple(branch), []).append(step)
    trained = {
        branch: trained_steps(tuple(steps), frac, seed_of[branch[0]], branch[2]) for branch, steps in windows.items()
    }
    return transitions.filter([step in trained[tuple(b)] for *b, step in _zip(transitions, [*_BRANCH, "step"])])


def _sites(job: Job, resources: LoadedModels, field: VelocityField, transitions: pa.Table) -> Sites:
    """Return the sites that the transitions start from, in their order, with the advantage of each branch."""
    advantages = read_table(job.inputs["advantages"])
    anchors = read_table(job.inputs["anchors"])
    prompts = read_table(job.inputs["prompts"])
    check_foreign_key("transitions", transitions, "advantages", advantages, _BRANCH)
    check_foreign_key("transitions", transitions, "anchors", anchors, _SITE)
    row_of_prompt = {name: row for row, name in enumerate(prompts["prompt_id"].to_pylist())}
    row_of_anchor = {key: row for row, key in enumerate(_zip(anchors, _SITE))}
    advantage_of = dict(zip(_zip(advantages, _BRANCH), advantages["advantage"].to_pylist(), strict=True))
    starts = list(_zip(transitions, _SITE))
    heads = list(dict.fromkeys(starts))
    number_of = {head: number for number, head in enumerate(heads)}
    site = [number_of[key] for key in starts]
    assert site == sorted(site), "The transitions from one site must be adjacent."
    device, latents = field.policy.device, tensor(anchors, "latents")
    advantage = [advantage_of[key] for key in _zip(transitions, _BRANCH)]
    return Sites(
        latents=torch.from_numpy(latents[[row_of_anchor[head] for head in heads]]).to(device),
        step=torch.tensor([step for _, _, step in heads], device=device),
        rows=torch.tensor([row_of_prompt[name] for name, _, _ in heads], device=device),
        condition=resources.condition(prompts["text"].to_pylist()),
        site=torch.tensor(site, device=device),
        next_latents=torch.from_numpy(tensor(transitions, "next_latents")).to(device),
        advantage=torch.tensor(advantage, dtype=torch.float32, device=device),
    )


def _stored_log_probs(transitions: pa.Table, sites: Sites) -> torch.Tensor:
    """Return the log-probabilities that the rollout stored, under the earlier policy that sampled the round."""
    return torch.from_numpy(transitions["log_prob"].to_numpy(zero_copy_only=False).copy()).to(sites.advantage)


def _zip(rows: pa.Table, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    return zip(*(rows[column].to_pylist() for column in columns), strict=True)


def _gap(log_prob_old: torch.Tensor, transitions: pa.Table, settings: UpdateParams) -> float:
    """Return the largest difference to the rollout's log-probabilities; refuse one that is too large."""
    gap = float(np.abs(log_prob_old.cpu().numpy() - transitions["log_prob"].to_numpy()).max())
    if gap > settings.max_log_prob_gap:
        raise ValueError(
            f"Rollout and update must agree on log-probabilities to {settings.max_log_prob_gap:g}, got a "
            f"difference of {gap:.2g}: the tables are of another policy, or the networks compute too coarsely. "
            "Run the round again from its rollout, or raise update.max_log_prob_gap for bfloat16."
        )
    return gap
