"""Stage `rollout`: the windows of stochastic steps, and the ODE steps before them.

The first step names a window. If a group shares its initial noise, one ODE trajectory per prompt, the anchor, leads
to its windows; else each branch has its own trajectory.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from g2rpo.positions import position_seed
from g2rpo.sampler import Anchor, Walked, anchor_trajectory, walk
from g2rpo.seeding import noise
from g2rpo.types import Latents
from g2rpo.velocity import VelocityField
from g2rpo.windows import Window
from stages.contract.job import Job
from stages.disk.foreign_keys import check_parents
from stages.disk.tables import ANCHORS, SHARED, TRANSITIONS, arrow, write_shard
from stages.engine.loaded_models import LoadedModels


def run(job: Job, resources: LoadedModels) -> None:
    """Write anchors and transitions, one shard per shard of prompts."""
    resources.encode(job.texts())
    for shard in job.pending_like("prompts", "anchors", "transitions"):
        field = resources.field(job.inputs["behaviour_policy"], job.params.rollout.micro_batch)
        _run_shard(job, resources, field, shard)


@dataclass(frozen=True)
class _Branches:
    """The branches of a shard, one row each: prompt, window, branch; a group's are adjacent. Example: (0, (2,), 7)."""

    ids: list[str]
    seeds: list[int]
    group_size: int
    rows: list[tuple[int, Window, int]]

    def noise_seed(self, branch: int, step: int) -> int:
        """Return the seed of a branch's stochastic step."""
        prompt, window, number = self.rows[branch]
        return position_seed("branch", self.seeds[prompt], window[0], number, step)

    def initial_seed(self, branch: int) -> int:
        """Return the seed of the noise that a branch starts from if its group shares none."""
        prompt, _, number = self.rows[branch]
        return position_seed("initial", self.seeds[prompt], number)


def _run_shard(job: Job, resources: LoadedModels, field: VelocityField, shard: int) -> None:
    settings, prompts = job.params.rollout, job.read("prompts", shard)
    windows = settings.windows(job.round_number, job.params.run.seed)
    ids = prompts["prompt_id"].to_pylist()
    rows = [(p, w, b) for p in range(len(ids)) for w in windows for b in range(settings.group_size)]
    branches = _Branches(ids, prompts["noise_seed"].to_pylist(), settings.group_size, rows)
    sigmas, policy = resources.sigmas(settings.num_steps), field.policy
    condition = resources.condition(prompts["text"].to_pylist())
    prompt = torch.tensor([p for p, _, _ in rows], device=policy.device)
    anchor, begin = None, [0] * len(rows)
    if settings.own_noise:
        initial = [branches.initial_seed(row) for row in range(len(rows))]
        start, velocity = noise(initial, policy.latent_shape).to(policy.device), None
    else:
        first = noise(branches.seeds, policy.latent_shape).to(policy.device)
        visited = max(window[0] for window in windows) + 1
        anchor = anchor_trajectory(field, first, condition, sigmas=sigmas, num_visited=visited)
        begin = [window[0] for _, window, _ in rows]
        start, velocity = anchor.latents[begin, prompt], anchor.velocity[begin, prompt]
    walked = walk(
        field,
        start,
        velocity,
        condition,
        rows=prompt,
        begin=begin,
        windows=[window for _, window, _ in rows],
        draw=_drawing(branches, policy.latent_shape, policy.device),
        sigmas=sigmas,
        sde=settings.sde,
        eta=settings.eta,
    )
    anchors, transitions = _tables(branches, anchor, walked, sigmas.numpy())
    check_parents(anchors, ANCHORS, {"prompts": prompts})
    check_parents(transitions, TRANSITIONS, {"prompts": prompts, "anchors": anchors})
    spent = field.evaluations
    write_shard(job.outputs["anchors"], shard, ANCHORS, anchors, stamp=job.stamp)
    write_shard(job.outputs["transitions"], shard, TRANSITIONS, transitions, stamp=job.stamp, evaluations=spent)


def _drawing(
    branches: _Branches, latent_shape: tuple[int, ...], device: torch.device
) -> Callable[[list[int], list[int]], Latents]:
    def draw(rows: list[int], steps: list[int]) -> Latents:
        seeds = [branches.noise_seed(row, step) for row, step in zip(rows, steps, strict=True)]
        return noise(seeds, latent_shape).to(device)

    return draw


def _tables(
    branches: _Branches, anchor: Anchor | None, walked: Walked, sigmas: np.ndarray
) -> tuple[pa.Table, pa.Table]:
    """Return anchors and transitions; a group's rows are adjacent, step by step, in the order of its branches."""
    branch, step = walked.branch.tolist(), walked.step.tolist()
    places = sorted(range(len(branch)), key=lambda at: (branch[at] // branches.group_size, step[at], branch[at]))
    keys = [branches.rows[branch[at]] for at in places]
    steps = np.array([step[at] for at in places])
    leaves_anchor = [anchor is not None and s == window[0] for (_, window, _), s in zip(keys, steps, strict=True)]
    origin = [SHARED if shared else b for (_, _, b), shared in zip(keys, leaves_anchor, strict=True)]
    own = [at for at, shared in zip(places, leaves_anchor, strict=True) if not shared]
    transitions = arrow(
        TRANSITIONS,
        {
            "prompt_id": [branches.ids[p] for p, _, _ in keys],
            "window": [window[0] for _, window, _ in keys],
            "branch": [b for _, _, b in keys],
            "step": steps,
            "origin": origin,
            "seed": [branches.noise_seed(branch[at], step[at]) for at in places],
            "sigma": sigmas[steps],
            "sigma_next": sigmas[steps + 1],
            "log_prob": walked.log_prob[places].cpu().numpy(),
            "next_latents": walked.next_latents[places].cpu().numpy(),
        },
    )
    return _anchors(branches, anchor, walked, own, sigmas), transitions


def _anchors(
    branches: _Branches, anchor: Anchor | None, walked: Walked, own: list[int], sigmas: np.ndarray
) -> pa.Table:
    """Return the latents that steps start from: the shared trajectories, and the branches' own latents."""
    visited = range(0 if anchor is None else len(anchor.latents))
    keys = [branches.rows[branch] for branch in walked.branch[own].tolist()]
    shared = [] if anchor is None else [(anchor.latents, anchor.velocity)]
    latents, velocity = (
        torch.cat([*(pair[which].transpose(0, 1).flatten(0, 1) for pair in shared), tensor[own]])
        for which, tensor in enumerate((walked.latents, walked.velocity))
    )
    step = np.array(list(visited) * (len(branches.ids) if visited else 0) + walked.step[own].tolist())
    return arrow(
        ANCHORS,
        {
            "prompt_id": [name for name in branches.ids for _ in visited] + [branches.ids[p] for p, _, _ in keys],
            "origin": [SHARED] * len(visited) * len(branches.ids) + [b for _, _, b in keys],
            "step": step,
            "sigma": sigmas[step],
            "sigma_next": sigmas[step + 1],
            "latents": latents.cpu().numpy(),
            "velocity": velocity.cpu().numpy(),
        },
    )
