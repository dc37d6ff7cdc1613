"""Stage `integrate`: one advantage a branch, from all granularities and rewards."""

from typing import Any

import pandas as pd
import torch

from g2rpo.advantages import group_scores, integrate
from stages.job import Job
from stages.params import IntegrateParams
from stages.resources import Resources
from stages.tables import ADVANTAGES, arrow, check_parents, write_shard


def run(job: Job, resources: Resources) -> None:
    """Write the advantages, a shard for each shard of rewards."""
    for shard in job.pending_like("rewards", "advantages"):
        rewards = job.read("rewards", shard)
        wide = rewards.to_pandas().pivot(
            index=["prompt_id", "window", "branch"], columns=["reward", "granularity"], values="value"
        )
        groups = wide.groupby(level=["prompt_id", "window"], sort=False).indices.values()
        rows = [row for places in groups for row in _group(wide.iloc[places], job.params.integrate)]
        advantages = arrow(ADVANTAGES, {name: [row[name] for row in rows] for name in ADVANTAGES.columns})
        check_parents(advantages, ADVANTAGES, {"rewards": rewards})
        write_shard(job.outputs["advantages"], shard, ADVANTAGES, advantages, stamp=job.stamp)


def _group(group: pd.DataFrame, params: IntegrateParams) -> list[dict[str, Any]]:
    """Return the rows of one group: its branches, with every summand behind their advantages.

    Args:
        group: Rewards, a row a branch of one (prompt, window), a column a (reward, granularity).
    """
    values = torch.from_numpy(group.to_numpy(copy=True))
    scores = {
        (str(reward), int(granularity)): group_scores(values[:, column], eps=params.std_eps)
        for column, (reward, granularity) in enumerate(group.columns)
    }
    integrated = integrate(
        {key: score.standardised for key, score in scores.items()},
        reward_weights=params.reward_weights,
        clamp=params.clamp,
    )
    standardised = torch.stack([score.standardised for score in scores.values()], dim=1).tolist()
    return [
        {
            "prompt_id": prompt_id,
            "window": window,
            "branch": branch,
            "advantage": advantage,
            "clamped": clamped,
            "summands": [
                {
                    "reward": reward,
                    "granularity": granularity,
                    "standardised": summand,
                    "group_mean": score.mean,
                    "group_std": score.std,
                }
                for ((reward, granularity), score), summand in zip(scores.items(), summands, strict=True)
            ],
        }
        for (prompt_id, window, branch), advantage, clamped, summands in zip(
            group.index, integrated.advantage.tolist(), integrated.clamped.tolist(), standardised, strict=True
        )
    ]
