"""Stage `evaluate`: sample held-out prompts from fixed noise by the ODE, and score them with every reward.

The noise of a held-out prompt depends on its caption alone, not on the run; so two runs, and two rounds of one run,
sample from the same noise.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from g2rpo.rewards.pictures import to_uint8
from g2rpo.sampler import complete
from g2rpo.seeding import noise
from g2rpo.velocity import VelocityField
from stages.contract.job import Job
from stages.disk.tables import EVALUATIONS, PICTURES, arrow, write_shard
from stages.engine.evaluation_shards import kept_rows, pending, shard_parts
from stages.engine.loaded_models import LoadedModels
from stages.engine.score_pictures import score_pictures
from stages.texts.held_out import HeldOut, held_out


def run(job: Job, resources: LoadedModels) -> None:
    """Write the scores of the policy on the held-out prompts, and the pictures of some captions, spread evenly."""
    settings = job.params.evaluate
    prompts, parts = held_out(job.params), shard_parts(job.params)
    resources.encode(prompts.texts)
    sampled = dict[int, torch.Tensor]()
    spent = dict[int, int]()
    resources.need("network")
    for shard in pending(job):
        field = resources.field(job.inputs["policy"], settings.micro_batch, averaged=True)
        sampled[shard] = _sample(field, resources, prompts, *parts[shard]).cpu()
        spent[shard] = field.evaluations
    resources.need("decoder", "rewards")
    for shard, latents in sampled.items():
        num_steps, part = parts[shard]
        images = resources.decoder().decode(latents.to(resources.device))
        names = [f"prompt {name}" for name in prompts.ids[part]]
        rewards = [resources.reward(name) for name in settings.rewards]
        values = np.stack([score_pictures(reward, images, prompts.texts[part], names) for reward in rewards], axis=1)
        kept = kept_rows(job.params, part)
        pictures = {row: to_uint8(images[row - part.start][None])[0].numpy() for row in kept}
        if pictures:
            _write_pictures(job, shard, num_steps, prompts, pictures)
        rows = _evaluation_rows(job, num_steps, prompts, part, values)
        write_shard(job.outputs["evaluations"], shard, EVALUATIONS, rows, stamp=job.stamp, evaluations=spent[shard])


def _sample(
    field: VelocityField, resources: LoadedModels, prompts: HeldOut, num_steps: int, part: slice
) -> torch.Tensor:
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


def _evaluation_rows(job: Job, num_steps: int, prompts: HeldOut, part: slice, values: np.ndarray[Any, Any]) -> pa.Table:
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
