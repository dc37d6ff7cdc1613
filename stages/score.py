"""Stage `score`: every completed picture before every trained reward, in the reward's own units."""

import numpy as np
import torch

from g2rpo.policies.protocol import Policy
from g2rpo.rewards.protocol import Reward
from stages.job import Job
from stages.resources import Resources
from stages.tables import REWARDS, arrow, check_parents, tensor, write_shard


def run(job: Job, resources: Resources) -> None:
    """Write the rewards, a shard for each shard of completions."""
    for shard in job.pending_like("completions", "rewards"):
        rewards = [resources.reward(name) for name in job.params.score.rewards]
        _run_shard(job, resources.decoder(), rewards, shard)


def _run_shard(job: Job, decoder: Policy, rewards: list[Reward], shard: int) -> None:
    prompts, completions = job.read("prompts", shard), job.read("completions", shard)
    text_of = dict(zip(prompts["prompt_id"].to_pylist(), prompts["text"].to_pylist(), strict=True))
    ids = completions["prompt_id"].to_pylist()
    texts = [text_of[name] for name in ids]
    latents = torch.from_numpy(tensor(completions, "latents"))
    values = np.empty((len(ids), len(rewards)))
    for start in range(0, len(ids), job.params.score.micro_batch):
        part = slice(start, start + job.params.score.micro_batch)
        images = decoder.decode(latents[part].to(decoder.device))
        for column, reward in enumerate(rewards):
            scored = reward.score(images, texts[part]).double().cpu().numpy()
            _refuse_bad(reward.name, scored, ids[part])
            values[part, column] = scored
    each = len(rewards)
    repeated = {name: np.repeat(completions[name].to_numpy(), each) for name in ("window", "branch", "granularity")}
    columns = {
        "prompt_id": [name for name in ids for _ in rewards],
        "reward": [reward.name for reward in rewards] * len(ids),
        "value": values.flatten(),
    }
    table = arrow(REWARDS, columns | repeated)
    check_parents(table, REWARDS, {"completions": completions})
    write_shard(job.outputs["rewards"], shard, REWARDS, table, stamp=job.stamp)


def _refuse_bad(name: str, scored: np.ndarray, ids: list[str]) -> None:
    """Stop on a value that is not a number: a failure is never a zero, which would poison its group."""
    bad = np.flatnonzero(~np.isfinite(scored))
    if len(bad):
        raise ValueError(
            f"Reward {name} must give a finite number, got {scored[bad[0]]} for prompt {ids[bad[0]]} "
            f"({len(bad)} of {len(scored)} pictures). Look at its pictures, or drop it from score.rewards."
        )
