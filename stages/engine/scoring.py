"""The rewards of one shard of completions, in the process that has loaded the rewards."""

import numpy as np
import pyarrow as pa
import torch

from stages.contract.job import Job
from stages.disk.foreign_keys import check_parents
from stages.disk.tables import REWARDS, arrow, tensor
from stages.engine.loaded_models import LoadedModels
from stages.engine.score_pictures import score_pictures


def scored(job: Job, resources: LoadedModels, shard: int) -> pa.Table:
    """Return the rewards of one shard of completions."""
    rewards, decoder = [resources.reward(name) for name in job.params.score.rewards], resources.decoder()
    prompts, completions = job.read("prompts", shard), job.read("completions", shard)
    text_of = dict(zip(prompts["prompt_id"].to_pylist(), prompts["text"].to_pylist(), strict=True))
    ids = completions["prompt_id"].to_pylist()
    texts = [text_of[name] for name in ids]
    latents = torch.from_numpy(tensor(completions, "latents"))
    values = np.empty((len(ids), len(rewards)))
    size = job.params.score.micro_batch
    for start in range(0, len(ids), size):
        images = decoder.decode(latents[start : start + size].to(decoder.device))
        for column, reward in enumerate(rewards):
            names = [_picture_name(completions, row) for row in range(start, start + len(images))]
            values[start : start + size, column] = score_pictures(reward, images, texts[start : start + size], names)
    each = len(rewards)
    repeated = {name: np.repeat(completions[name].to_numpy(), each) for name in ("window", "branch", "granularity")}
    columns = {
        "prompt_id": [name for name in ids for _ in rewards],
        "reward": [reward.name for reward in rewards] * len(ids),
        "value": values.flatten(),
    }
    table = arrow(REWARDS, columns | repeated)
    check_parents(table, REWARDS, {"completions": completions})
    return table


def _picture_name(completions: pa.Table, row: int) -> str:
    """Return the name of a row's picture. Example: `prompt train-0042-000, window 2, branch 7, granularity 1`."""
    key = {name: completions[name][row].as_py() for name in ("prompt_id", "window", "branch", "granularity")}
    return ", ".join(f"{name.removesuffix('_id')} {value}" for name, value in key.items())
