"""Stage `evaluate`: held-out prompts with fixed noise, painted by the ODE and judged by every reward.

The noise of a held-out prompt hangs on its caption alone, not on the run: so two runs, and two rounds of one
run, paint from the same noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from g2rpo.positions import position_seed
from g2rpo.rewards.pictures import to_uint8
from g2rpo.sampler import complete
from g2rpo.seeding import noise
from g2rpo.velocity import VelocityField
from stages.contract.job import Job
from stages.disk.tables import EVALUATIONS, PICTURES, arrow, write_shard
from stages.engine.judging import judge
from stages.engine.loaded_models import Resources
from stages.params.record import Params
from stages.texts.lists import prompt_list


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
            f"got {chosen.num_prompts}. Lower it (report.num_prompts for the report), or give a longer list."
        )
    spread = [index * len(texts) // chosen.num_prompts for index in range(chosen.num_prompts)]
    rows = [(index, number) for number in range(chosen.num_noises) for index in spread]
    return HeldOut(
        ids=[f"{chosen.split}-{index:04d}-{number:03d}" for index, number in rows],
        texts=[texts[index] for index, _ in rows],
        seeds=[position_seed("held out", texts[index], number) for index, number in rows],
    )


def pending(job: Job) -> list[int]:
    """Return the shards to make: of each number of steps, one for `evaluate.micro_batch` prompts."""
    parts = _parts(job.params)
    with_pictures = [shard for shard, (_, part) in enumerate(parts) if _kept(job.params, part)]
    return sorted({*job.pending(range(len(parts)), "evaluations"), *job.pending(with_pictures, "pictures")})


def run(job: Job, resources: Resources) -> None:
    """Write the scores of the policy on the held-out prompts, and pictures of some captions, spread evenly."""
    chosen = job.params.evaluate
    prompts, parts = held_out(job.params), _parts(job.params)
    resources.encode(prompts.texts)
    painted = dict[int, torch.Tensor]()
    spent = dict[int, int]()
    resources.need("network")
    for shard in pending(job):
        field = resources.field(job.inputs["policy"], chosen.micro_batch, averaged=True)
        painted[shard] = _paint(field, resources, prompts, *parts[shard]).cpu()
        spent[shard] = field.evaluations
    resources.need("decoder", "rewards")
    for shard, latents in painted.items():
        num_steps, part = parts[shard]
        images = resources.decoder().decode(latents.to(resources.device))
        told = [f"prompt {name}" for name in prompts.ids[part]]
        rewards = [resources.reward(name) for name in chosen.rewards]
        values = np.stack([judge(reward, images, prompts.texts[part], told) for reward in rewards], axis=1)
        kept = _kept(job.params, part)
        pictures = {row: to_uint8(images[row - part.start][None])[0].numpy() for row in kept}
        if pictures:
            _write_pictures(job, shard, num_steps, prompts, pictures)
        rows = _scored(job, num_steps, prompts, part, values)
        write_shard(job.outputs["evaluations"], shard, EVALUATIONS, rows, stamp=job.stamp, evaluations=spent[shard])


def _parts(params: Params) -> list[tuple[int, slice]]:
    """Return the number of steps and the rows of each shard."""
    chosen = params.evaluate
    starts = range(0, chosen.num_prompts * chosen.num_noises, chosen.micro_batch)
    return [(steps, slice(at, at + chosen.micro_batch)) for steps in chosen.num_steps for at in starts]


def _kept(params: Params, part: slice) -> list[int]:
    """Return the rows whose pictures are kept: the first rows hold each caption once, with its first noise."""
    there = params.evaluate.num_prompts
    count = min(params.evaluate.num_pictures, there)
    return [row for row in (index * there // count for index in range(count)) if part.start <= row < part.stop]


def _paint(field: VelocityField, resources: Resources, prompts: HeldOut, num_steps: int, part: slice) -> torch.Tensor:
    start = noise(prompts.seeds[part], field.policy.latent_shape).to(field.policy.device)
    finished = complete(
        field,
        start,
        resources.condition(prompts.texts[part]),
        rows=torch.arange(len(start), device=start.device),
        starts=[0] * len(start),
        sigmas=resources.sigmas(num_steps),
        granularities=[1],
        rule="even",
    )
    return finished.latents[:, 0]


def _scored(job: Job, num_steps: int, prompts: HeldOut, part: slice, values: np.ndarray[Any, Any]) -> pa.Table:
    rewards, count = job.params.evaluate.rewards, len(values)
    columns = {
        "policy_round": [job.round_number] * len(rewards) * count,
        "prompt_id": _repeated(prompts.ids[part], len(rewards)),
        "num_steps": [num_steps] * len(rewards) * count,
        "reward": list(rewards) * count,
        "text": _repeated(prompts.texts[part], len(rewards)),
        "value": values.flatten(),
    }
    return arrow(EVALUATIONS, columns)


def _write_pictures(
    job: Job, shard: int, num_steps: int, prompts: HeldOut, pictures: dict[int, np.ndarray[Any, Any]]
) -> None:
    columns = {
        "policy_round": [job.round_number] * len(pictures),
        "prompt_id": [prompts.ids[row] for row in pictures],
        "num_steps": [num_steps] * len(pictures),
        "text": [prompts.texts[row] for row in pictures],
        "image": np.stack(list(pictures.values())),
    }
    write_shard(job.outputs["pictures"], shard, PICTURES, arrow(PICTURES, columns), stamp=job.stamp)


def _repeated(values: Sequence[str], each: int) -> list[str]:
    return [value for value in values for _ in range(each)]
