"""The figures of a comparison as tables: runs, means over seeds, paired differences, curves, costs."""

import json
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import pandas as pd

from flows.common.rows import Row, Rows, column, distinct, grouped, pick
from flows.compare.plan import BASE, ComparisonPlan
from flows.compare.statistics import holm, paired, summary
from flows.compare.stored import Measured
from stages.readings.budget import method_evaluations

SPENT = ("evaluations", "cpu_seconds", "wall_seconds")
_OF = ["num_steps", "reward"]
"""Keys of a figure, in addition to method, variant and point."""


def runs_table(whole: Sequence[Measured]) -> Rows:
    """Return one row per run, split, number of inference steps and reward: the last policy's value, the run's cost."""
    return [
        _arm(each) | _cost(each) | {name: value for name, value in row.items() if name != "policy_round"}
        for each in whole
        for row in pick(each.scores, policy_round=len(each.rounds))
    ]


def base_table(whole: Sequence[Measured]) -> Rows:
    """Return the base's figures on the final split for each method, variant and point; `base` names its evaluation."""
    rows = [_arm(each) | row | {"base": each.placed.base.name} for each in whole for row in each.base]
    keys = [name for name in rows[0] if name != "seed"]
    return [group[0] for _, group in grouped(rows, keys)]


def final_table(runs: Rows, bases: Rows, plan: ComparisonPlan) -> Rows:
    """Return mean, std, interval and n over seeds for each method, variant, point, inference steps and reward.

    The base is evaluated once, so it has no interval. It is one method if all share a base, else one per base.
    """
    final: Rows = []
    for key, group in grouped(bases, [*_keys(plan)[1:], *_OF]):
        by_base = grouped(group, ["base"])
        for _, same in by_base:
            name = BASE if len(by_base) == 1 else f"{BASE} of {', '.join(distinct(same, 'method'))}"
            final.append({"method": name} | key | vars(summary([same[0]["value"]])))
    order = sorted(pick(runs, split=plan.split), key=lambda row: list(plan.methods).index(row["method"]))
    return final + [key | vars(summary(column(group, "value"))) for key, group in grouped(order, [*_keys(plan), *_OF])]


def paired_table(runs: Rows, plan: ComparisonPlan) -> Rows:
    """Return the differences to the reference by seed, on the final split, each with its test.

    `p_holm` is corrected within a reward and number of inference steps, over methods and variants; each interval
    is for one comparison.
    """
    rows: Rows = []
    others = [name for name in plan.methods if name != plan.reference]
    for key, group in grouped(pick(runs, split=plan.split), ["variant", *_OF]):
        values = pd.DataFrame(group)
        for method in others:
            own, reference = (values[values["method"] == name] for name in (method, plan.reference))
            both = own.merge(reference, on="seed")
            if len(both):
                test = paired(both["value_x"].tolist(), both["value_y"].tolist())
                differs = vars(test.difference)
                row = {"method": method, "reference": plan.reference} | key | {"difference": differs["mean"]}
                rows.append(row | {name: differs[name] for name in ("std", "low", "high", "n")} | {"p": test.p})
    for _, family in grouped(rows, _OF):
        for row, corrected in zip(family, holm(column(family, "p")), strict=True):
            row["p_holm"] = corrected
    return rows


def curves_table(whole: Sequence[Measured]) -> Rows:
    """Return the held-out figures during training, with the cost of training up to then."""
    rows: Rows = []
    for each in whole:
        spent = {name: [0.0, *accumulate(values)] for name, values in _spent(each).items()}
        for row in pick(each.scores, split=each.placed.cell.params.evaluate.split):
            by_then = {name: totals[row["policy_round"]] for name, totals in spent.items()}
            rows.append(_arm(each) | {"policy_round": row["policy_round"]} | by_then | row)
    return rows


def cost_table(whole: Sequence[Measured], plan: ComparisonPlan) -> Rows:
    """Return the training cost of a run of each method, variant and point, as means over seeds.

    `evaluations_per_prompt` includes rollout, completion and update; peak_bytes is the largest of a stage.
    """
    order = sorted(whole, key=lambda each: list(plan.methods).index(each.placed.cell.method))
    rows = [_arm(each) | _cost(each) | _size(each) for each in order]
    numbers = ["rounds", *SPENT, "prompts", "evaluations_per_prompt", "peak_bytes"]
    return [key | pd.DataFrame(group)[numbers].mean().to_dict() for key, group in grouped(rows, _keys(plan))]


def tuning_table(runs: Rows, whole: Sequence[Measured], plan: ComparisonPlan) -> Rows:
    """Return the metric of each method, variant and point on evaluate.split, over seeds."""
    params = whole[0].placed.cell.params.evaluate
    rows = pick(runs, split=params.split, reward=plan.metric, num_steps=params.num_steps[0])
    labels = {"metric": plan.metric, "split": params.split}
    return [key | vars(summary(column(group, "value"))) | labels for key, group in grouped(rows, _keys(plan))]


def best_of(tuning: Rows) -> Rows:
    """Return the point of the grid with the most seeds, then the highest mean, for each method and variant."""
    return [max(group, key=lambda row: (row["n"], row["mean"])) for _, group in grouped(tuning, ["method", "variant"])]


def at_best(rows: Rows, best: Rows, plan: ComparisonPlan) -> Rows:
    """Return the rows at the best points; for the base, that of the variant's first method."""
    points = {(row["method"], row["variant"]): [row[key] for key in plan.grid] for row in best}
    of_base = {row["variant"]: [row[key] for key in plan.grid] for row in reversed(best)}
    return [
        row
        for row in rows
        if [row[key] for key in plan.grid] == points.get((row["method"], row["variant"]), of_base.get(row["variant"]))
    ]


def point_text(value: Any) -> Any:
    """Return a value of the grid for a table: a number or text as it is, a list as JSON."""
    return value if isinstance(value, int | float | str) else json.dumps(value)


def _keys(plan: ComparisonPlan) -> list[str]:
    return ["method", "variant", *plan.grid]


def _arm(each: Measured) -> Row:
    cell = each.placed.cell
    point = {key: point_text(value) for key, value in cell.point.items()}
    return {"method": cell.method, "variant": cell.variant} | point | {"seed": cell.seed}


def _spent(each: Measured) -> dict[str, list[float]]:
    seconds = [sum(value for name, value in row.items() if name.startswith("seconds/")) for row in each.rounds]
    evaluations = [float(method_evaluations(each.placed.cell.params, number)) for number in range(len(each.rounds))]
    return dict(zip(SPENT, (evaluations, column(each.rounds, SPENT[1]), seconds), strict=True))


def _cost(each: Measured) -> Row:
    totals = {name: sum(values) for name, values in _spent(each).items()}
    totals |= {SPENT[0]: int(totals[SPENT[0]])}
    return {"run_key": each.placed.key, "rounds": len(each.rounds)} | totals


def _size(each: Measured) -> Row:
    prompts = each.placed.cell.params.prompts.num_prompts
    spent = sum(_spent(each)[SPENT[0]])
    peak = max(value for row in each.rounds for name, value in row.items() if name.startswith("peak_bytes/"))
    return {"prompts": prompts, "evaluations_per_prompt": spent / (prompts * len(each.rounds)), "peak_bytes": peak}
