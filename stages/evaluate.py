"""Stage `evaluate`: held-out prompts with fixed noise, painted by the ODE and judged by every reward.

The noise of a held-out prompt hangs on its caption alone, not on the run: so two runs, and two rounds of one
run, paint from the same noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from g2rpo.policies.protocol import Condition
from g2rpo.sampler import complete
from g2rpo.schedule import shifted_sigmas
from g2rpo.seeding import noise, position_seed
from g2rpo.velocity import VelocityField
from stages.job import Job
from stages.params import Params
from stages.prompt_lists import prompt_list
from stages.resources import Resources
from stages.tables import EVALUATIONS, PICTURES, arrow, write_shard


@dataclass(frozen=True)
class HeldOut:
    """The fixed prompts of an evaluation. Example: id `test-0007-000`, a text, a seed."""

    ids: list[str]
    texts: list[str]
    seeds: list[int]


def held_out(params: Params) -> HeldOut:
    """Return captions spread evenly over the split, each with its noises.

    Raises:
        ValueError: If the split has fewer captions than asked for.
    """
    chosen = params.evaluate
    texts = prompt_list(params, chosen.split)
    if chosen.num_prompts > len(texts):
        raise ValueError(
            f"evaluate.num_prompts: at most the {len(texts)} captions of split {chosen.split} can be asked for, "
            f"got {chosen.num_prompts}. Lower it."
        )
    spread = [index * len(texts) // chosen.num_prompts for index in range(chosen.num_prompts)]
    rows = [(index, number) for number in range(chosen.num_noises) for index in spread]
    return HeldOut(
        ids=[f"{chosen.split}-{index:04d}-{number:03d}" for index, number in rows],
        texts=[texts[index] for index, _ in rows],
        seeds=[position_seed("held out", texts[index], number) for index, number in rows],
    )


def run(job: Job, resources: Resources) -> None:
    """Write the scores of the policy on the held-out prompts, and pictures of some captions, spread evenly."""
    chosen = job.params.evaluate
    prompts = held_out(job.params)
    for shard, num_steps in enumerate(chosen.num_steps):
        field = resources.field(job.inputs["policy"], chosen.micro_batch, averaged=True)
        condition = field.policy.encode(prompts.texts)
        start = noise(prompts.seeds, field.policy.latent_shape).to(field.policy.device)
        latents = _paint(field, start, condition, num_steps, job.params.rollout.shift)
        images = field.policy.decode(latents)
        scores = {name: resources.reward(name).score(images, prompts.texts) for name in chosen.rewards}
        _write_pictures(job, shard, num_steps, prompts, images)
        rows = _scored(job.round_number, num_steps, prompts, scores)
        spent = field.evaluations
        write_shard(job.outputs["evaluations"], shard, EVALUATIONS, rows, stamp=job.stamp, evaluations=spent)


def _paint(
    field: VelocityField, start: torch.Tensor, condition: Condition, num_steps: int, shift: float
) -> torch.Tensor:
    rows = torch.arange(len(start), device=start.device)
    sigmas = shifted_sigmas(num_steps, shift)
    finished = complete(
        field,
        start,
        condition,
        rows=rows,
        starts=[0] * len(start),
        sigmas=sigmas,
        granularities=[1],
        rule="even",
    )
    return finished.latents[:, 0]


def _scored(policy_round: int, num_steps: int, prompts: HeldOut, scores: dict[str, torch.Tensor]) -> pa.Table:
    values = np.stack([value.double().cpu().numpy() for value in scores.values()], axis=1)
    if not np.isfinite(values).all():
        name = list(scores)[int(np.argwhere(~np.isfinite(values))[0][1])]
        raise ValueError(f"Reward {name} must give finite numbers, got one that is not. Look at its pictures.")
    each, count = len(scores), len(prompts.ids)
    columns = {
        "policy_round": [policy_round] * each * count,
        "prompt_id": _repeated(prompts.ids, each),
        "num_steps": [num_steps] * each * count,
        "reward": list(scores) * count,
        "text": _repeated(prompts.texts, each),
        "value": values.flatten(),
    }
    return arrow(EVALUATIONS, columns)


def _write_pictures(job: Job, shard: int, num_steps: int, prompts: HeldOut, images: torch.Tensor) -> None:
    captions_there = job.params.evaluate.num_prompts  # the first rows hold each caption once, with its first noise
    count = min(job.params.evaluate.num_pictures, captions_there)
    shown = [index * captions_there // count for index in range(count)]
    columns = {
        "policy_round": [job.round_number] * count,
        "prompt_id": [prompts.ids[index] for index in shown],
        "num_steps": [num_steps] * count,
        "text": [prompts.texts[index] for index in shown],
        "image": (images[shown] * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy(),
    }
    write_shard(job.outputs["pictures"], shard, PICTURES, arrow(PICTURES, columns), stamp=job.stamp)


def _repeated(values: Sequence[str], each: int) -> list[str]:
    return [value for value in values for _ in range(each)]
