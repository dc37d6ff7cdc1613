"""Stage `rollout`: one ODE trajectory a prompt, and the stochastic branches that leave it.

A window is named by its first step. G²RPO's windows have one step each.
"""

import numpy as np
import torch

from g2rpo.sampler import anchor_trajectory, branch
from g2rpo.seeding import noise, position_seed
from g2rpo.velocity import VelocityField
from stages.job import Job
from stages.resources import Resources
from stages.tables import ANCHORS, TRANSITIONS, arrow, check_parents, write_shard


def run(job: Job, resources: Resources) -> None:
    """Write anchors and transitions, a shard for each shard of prompts."""
    resources.encode(job.texts())
    for shard in job.pending_like("prompts", "anchors", "transitions"):
        field = resources.field(job.inputs["previous_policy"], job.params.rollout.micro_batch)
        _run_shard(job, resources, field, shard)


def _run_shard(job: Job, resources: Resources, field: VelocityField, shard: int) -> None:
    chosen, prompts = job.params.rollout, job.read("prompts", shard)
    ids, seeds = prompts["prompt_id"].to_pylist(), prompts["noise_seed"].to_pylist()
    sigmas = resources.sigmas(chosen.num_steps)
    policy = field.policy
    anchor = anchor_trajectory(
        field,
        noise(seeds, policy.latent_shape).to(policy.device),
        resources.condition(prompts["text"].to_pylist()),
        sigmas=sigmas,
        num_visited=max(chosen.steps) + 1,
    )
    rows = [(p, k, b) for p in range(len(ids)) for k in chosen.steps for b in range(chosen.group_size)]
    prompt, step, branches = (torch.tensor(column) for column in zip(*rows, strict=True))
    branch_seeds = [position_seed("branch", seeds[p], k, b, k) for p, k, b in rows]
    branched = branch(
        anchor.latents[step, prompt],
        anchor.velocity[step, prompt],
        noise(branch_seeds, policy.latent_shape).to(policy.device),
        step=step.to(policy.device),
        sigmas=sigmas,
        eta=chosen.eta,
    )
    visited = range(len(anchor.latents))
    anchors = arrow(
        ANCHORS,
        {
            "prompt_id": [name for name in ids for _ in visited],
            "step": list(visited) * len(ids),
            "sigma": np.tile(sigmas[:-1][: len(visited)], len(ids)),
            "sigma_next": np.tile(sigmas[1:][: len(visited)], len(ids)),
            "latents": anchor.latents.transpose(0, 1).flatten(0, 1).cpu().numpy(),
            "velocity": anchor.velocity.transpose(0, 1).flatten(0, 1).cpu().numpy(),
        },
    )
    transitions = arrow(
        TRANSITIONS,
        {
            "prompt_id": [ids[p] for p, _, _ in rows],
            "window": step.numpy(),
            "branch": branches.numpy(),
            "step": step.numpy(),
            "seed": branch_seeds,
            "sigma": sigmas[step].numpy(),
            "sigma_next": sigmas[step + 1].numpy(),
            "log_prob": branched.log_prob.cpu().numpy(),
            "next_latents": branched.next_latents.cpu().numpy(),
        },
    )
    check_parents(anchors, ANCHORS, {"prompts": prompts})
    check_parents(transitions, TRANSITIONS, {"prompts": prompts, "anchors": anchors})
    write_shard(job.outputs["anchors"], shard, ANCHORS, anchors, stamp=job.stamp)
    spent = field.evaluations
    write_shard(job.outputs["transitions"], shard, TRANSITIONS, transitions, stamp=job.stamp, evaluations=spent)
