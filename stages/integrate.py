"""Stage `integrate`: one advantage per branch, from all granularities and rewards."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from g2rpo.advantages import IntegrationRule, Key, integrate, spread_floors, summands
from stages.contract.job import Job
from stages.disk.foreign_keys import check_parents
from stages.disk.tables import ADVANTAGES, arrow, read_table, write_shard
from stages.engine.loaded_models import LoadedModels
from stages.engine.rules import integration_rule


def run(job: Job, resources: LoadedModels) -> None:
    """Write the advantages, one shard per shard of rewards; the floor of spreads is that of the whole round."""
    rule = integration_rule(job.params.integrate, job.params.complete.granularities)
    pending = job.pending_like("rewards", "advantages")
    if not pending:
        return
    everything = _wide(read_table(job.inputs["rewards"]).to_pandas())
    floors = spread_floors((_values(group) for group in _groups(everything)), rule)
    for shard in pending:
        rewards = job.read("rewards", shard)
        rows = [row for group in _groups(_wide(rewards.to_pandas())) for row in _rows(group, rule, floors)]
        advantages = arrow(ADVANTAGES, {name: [row[name] for row in rows] for name in ADVANTAGES.columns})
        check_parents(advantages, ADVANTAGES, {"rewards": rewards})
        write_shard(job.outputs["advantages"], shard, ADVANTAGES, advantages, stamp=job.stamp)


def _wide(rewards: pd.DataFrame) -> pd.DataFrame:
    """Return the rewards with one row per branch and one column per (reward, granularity)."""
    return rewards.pivot(index=["prompt_id", "window", "branch"], columns=["reward", "granularity"], values="value")


def _groups(wide: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the rows of each (prompt, window)."""
    for places in wide.groupby(level=["prompt_id", "window"], sort=False).indices.values():
        yield wide.iloc[places]


def _values(group: pd.DataFrame) -> dict[Key, Tensor]:
    """Return the rewards of one group by (reward, granularity), one per branch."""
    values = torch.from_numpy(group.to_numpy(copy=True))
    return {(reward, int(granularity)): values[:, column] for column, (reward, granularity) in enumerate(group.columns)}


def _rows(group: pd.DataFrame, rule: IntegrationRule, floors: dict[Key, float]) -> list[dict[str, Any]]:
    """Return the rows of one group, one per branch, with every summand of its advantage."""
    added = summands(_values(group), rule, floors)
    integrated = integrate(added.values(), clamp=rule.clamp)
    standardised = torch.stack([summand.standardised for summand in added.values()], dim=1).tolist()
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
                    "standardised": value,
                    "weight": summand.weight,
                    "divisor": summand.divisor.value,
                    "floored": summand.divisor.floored,
                    "group_mean": summand.spread.mean,
                    "group_std": summand.spread.std,
                }
                for ((reward, granularity), summand), value in zip(added.items(), values, strict=True)
            ],
        }
        for (prompt_id, window, branch), advantage, clamped, values in zip(
            group.index, integrated.advantage.tolist(), integrated.clamped.tolist(), standardised, strict=True
        )
    ]
