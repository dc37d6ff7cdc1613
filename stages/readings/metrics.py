"""Metrics of a round and of an evaluation: numbers computed from the tables, so that they can be rebuilt."""

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from g2rpo.messages import listed
from stages.contract.declared_stages import EVALUATE, ROUND_STAGES, Stage
from stages.disk.foreign_keys import check_parents
from stages.disk.records import LARGEST
from stages.disk.tables import ADVANTAGES, read_table
from stages.params.record import Params
from stages.store.manifest import is_complete, read_manifest
from stages.store.run import Run

_LARGEST_EXPONENT = 88.0  # whose exponential is a number of fp32


def round_metrics(run: Run, number: int) -> dict[str, float]:
    """Return the metrics of a round whose stages are done.

    `diversity/*` is how far apart the pictures of a group lie, the mean over groups, in latent units. `reward/*` is
    in the reward's own units: its mean, and its spread, the mean over groups of the std within a group, by
    granularity and by step. `update/*` are means over the round's optimizer steps, `ratio_min` and `ratio_max` the
    extremes, `first_ratio_gap` the largest distance of the first step's ratios from 1. `seconds/*` are wall times by
    stage, `peak_bytes/*` the peak memory of the device; these and `cpu_seconds` differ if a round is repeated.
    """
    folder = run.round_folder(number)
    manifests = {stage.name: finished_manifest(folder, stage) for stage in ROUND_STAGES}
    metrics = {"round": float(number + 1)}
    metrics |= _diversity(read_table(folder / "diversity").to_pandas())
    rewards, advantages = read_table(folder / "rewards"), read_table(folder / "advantages")
    check_parents(advantages, ADVANTAGES, {"rewards": rewards})
    metrics |= _rewards(rewards.to_pandas()) | _advantages(advantages.to_pandas())
    updates = read_table(folder / "updates").to_pandas().drop(columns="optimizer_step")
    extremes = {"ratio_min": updates["ratio_min"].min(), "ratio_max": updates["ratio_max"].max()}
    extremes["first_ratio_gap"] = _first_ratio_gap(updates)
    metrics |= {f"update/{name}": float(value) for name, value in (updates.mean().to_dict() | extremes).items()}
    metrics |= {"evaluations": float(sum(m["evaluations"] for m in manifests.values()))}
    metrics |= {"bytes": float(sum(out["bytes"] for m in manifests.values() for out in m["outputs"].values()))}
    metrics |= {"cpu_seconds": sum(m["cpu_seconds"] for m in manifests.values())}
    metrics |= {f"peak_bytes/{name}": float(manifest["peak_bytes"]) for name, manifest in manifests.items()}
    return metrics | {f"seconds/{name}": manifest["seconds"] for name, manifest in manifests.items()}


def finished_manifest(folder: Path, stage: Stage) -> dict[str, Any]:
    """Return the manifest of a stage that is done.

    Raises:
        ValueError: If it is not done, or its manifest is damaged.
    """
    manifest = read_manifest(folder, stage)
    if manifest is None:
        raise ValueError(f"Stage {stage.name} must be done in {folder}, got no complete manifest. Run it.")
    return manifest


def trained_rewards(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the mean of each trained reward over a round's pictures, by reward name."""
    parts = {tuple(key.split("/")): value for key, value in metrics.items()}
    return {key[1]: value for key, value in parts.items() if len(key) == 3 and key[::2] == ("reward", "mean")}


def _rewards(rewards: pd.DataFrame) -> dict[str, float]:
    keys = ["reward", "prompt_id", "window", "granularity"]
    table = rewards.groupby(keys, as_index=False).agg(mean=("value", "mean"), spread=("value", "std"))
    groups = table.to_dict("records")
    return {
        **_means("reward/{reward}/mean", groups, "mean"),
        **_means("reward/{reward}/granularity_{granularity}/mean", groups, "mean"),
        **_means("reward/{reward}/granularity_{granularity}/spread", groups, "spread"),
        **_means("reward/{reward}/step_{window}/mean", groups, "mean"),
        **_means("reward/{reward}/step_{window}/spread", groups, "spread"),
    }


def _diversity(diversity: pd.DataFrame) -> dict[str, float]:
    groups = diversity.to_dict("records")
    return _means("diversity/mean", groups, "value") | _means("diversity/step_{window}", groups, "value")


def _first_ratio_gap(updates: pd.DataFrame) -> float:
    """Return the largest distance from 1 of the first optimizer step's importance ratios, under the rollout's policy.

    The update computes the old log-probabilities itself, so their gap to the rollout's counts too.
    """
    first = {name: float(updates[name].to_numpy()[0]) for name in ("ratio_min", "ratio_max", "log_prob_gap")}
    gap = math.expm1(min(first["log_prob_gap"], _LARGEST_EXPONENT))
    return max(1 - first["ratio_min"], first["ratio_max"] - 1, gap)


def _means(name: str, groups: Sequence[Mapping[Hashable, Any]], column: str) -> dict[str, float]:
    """Return the mean of a column over the groups that share a name; all groups are of one size."""
    values: dict[str, list[float]] = {}
    for row in groups:
        values.setdefault(name.format_map(row), []).append(row[column])
    return {key: sum(group) / len(group) for key, group in values.items()}


def _advantages(advantages: pd.DataFrame) -> dict[str, float]:
    heads = advantages.groupby(["prompt_id", "window"])["summands"].first()
    summands = [summand for summands in heads for summand in summands]
    return {
        "advantage/spread": advantages["advantage"].to_numpy().std(ddof=1).item(),
        "advantage/clamped_frac": advantages["clamped"].to_numpy().mean().item(),
        "advantage/zero_spread_frac": sum(summand["group_std"] == 0 for summand in summands) / len(summands),
        "advantage/floored_frac": sum(summand["floored"] for summand in summands) / len(summands),
    }


def whole_evaluations(run: Run) -> list[tuple[int, str]]:
    """Return (policy_round, split) of the evaluations that can be read: a damaged one waits for `g2rpo repair`."""
    folders = {one: run.evaluation_folder(*one) for one in run.evaluations()}
    manifests = {one: read_manifest(folder, EVALUATE) for one, folder in folders.items()}
    return [one for one, manifest in manifests.items() if manifest and is_complete(manifest, folders[one])]


def evaluation_metrics(folder: Path, rewards: Collection[str] = ()) -> dict[str, float]:
    """Return the mean of each reward over an evaluation, by reward name.

    With several numbers of inference steps the first keeps the plain name, the others read `name/steps_12`.

    Args:
        folder: The folder of the evaluation.
        rewards: Names that must be among those of the result.

    Raises:
        ValueError: As `evaluation_rows`.
    """
    table = evaluation_rows(folder)
    means = table.groupby(["num_steps", "reward"], sort=False)["value"].mean()
    first = table["num_steps"].tolist()[0]
    found = {
        (reward if num_steps == first else f"{reward}/steps_{num_steps}"): value
        for (num_steps, reward), value in means.to_dict().items()
    }
    require_rewards(folder, found, rewards)
    return found


def evaluation_rows(folder: Path) -> pd.DataFrame:
    """Return the table of an evaluation, in which each reward has a finite number for each prompt.

    Raises:
        ValueError: If it is damaged, or made so that its digests fit: with a number that no reward gives, or rows
            missing.
    """
    table = read_table(folder / "evaluations").to_pandas()
    odd = table["value"][~(table["value"].abs() <= LARGEST)]
    if len(odd):
        raise _altered(folder, f"{odd.tolist()[0]:g}")
    if table.groupby(["num_steps", "reward"]).size().nunique() > 1:
        raise _altered(folder, "rewards that lack prompts")
    return table


def require_rewards(folder: Path, found: Collection[str], rewards: Collection[str]) -> None:
    """Refuse an evaluation in which one of the rewards was not found.

    Raises:
        ValueError: With those that are missing.
    """
    if missing := sorted(set(rewards) - set(found)):
        raise _altered(folder, f"no {listed(missing)}")


def _altered(folder: Path, got: str) -> ValueError:
    return ValueError(
        f"{folder} must be an evaluation as it was written, with a finite number of each reward for each prompt, got "
        f"{got}. Remove the folder, and run the command that made the run again: it evaluates anew."
    )


def reported_rounds(run: Run, params: Params, updates: Collection[str]) -> list[dict[str, float]]:
    """Return the metrics of the finished rounds up to `run.rounds`, each with the means of its trained rewards.

    Args:
        run: The run.
        params: Its parameters.
        updates: Metrics of the update that each must have, such as `kl`.

    Raises:
        ValueError: If one of their files is damaged or missing, or lacks a metric.
    """
    rounds, rewards = run.metrics()[: params.run.rounds], params.score.rewards
    needed = {*(f"reward/{name}/mean" for name in rewards), *(f"update/{name}" for name in updates)}
    for number, row in enumerate(rounds):
        missing = sorted(needed - row.keys())
        if missing or row.get("round") != number + 1:
            raise ValueError(
                f"{run.metrics_path(number)} must hold the metrics of round {number + 1}, got no "
                f"{listed(missing) or 'such round'}. Run `g2rpo repair --run {run.key[:8]}`: it writes them anew."
            )
    return rounds
