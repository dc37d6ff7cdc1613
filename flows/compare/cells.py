"""The runs of a plan: methods x variants x grid x seeds, each with its parameters, checked before any run starts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from flows.compare.plan import ComparisonPlan, Method, Values, point_values, slug
from g2rpo.messages import plain
from stages.params.file import load_params, override
from stages.params.names import check_key
from stages.params.record import Params, for_report
from stages.params.yaml import read_extending
from stages.readings.budget import rounds_within
from stages.sources.rewards import check_names
from stages.texts.draws import check_prompts
from stages.texts.held_out import held_out


@dataclass(frozen=True)
class Cell:
    """One run of a plan. Example: method "mix_grpo", variant "two rewards", point {"rollout.eta": 0.7}, seed 101."""

    method: str
    variant: str
    """Empty if the plan has no variants."""
    point: Mapping[str, Any]
    """Values of the grid's parameters; empty if the plan has no grid."""
    seed: int
    params: Params

    @property
    def name(self) -> str:
        """The name of the run for users. Example: `mix_grpo, two rewards, rollout.eta=0.7, seed 101`."""
        return ", ".join([*self._arm, f"seed {self.seed}"])

    @property
    def slug(self) -> str:
        """The name for tasks and files. Example: `mix_grpo-two-rewards-rollout-eta-0-7-s101`."""
        return "-".join([*(slug(part) for part in self._arm), f"s{self.seed}"])

    @property
    def _arm(self) -> list[str]:
        return [part for part in (self.method, self.variant) if part] + point_values(self.point)


def cells_of(plan: ComparisonPlan, folder: Path) -> list[Cell]:
    """Return the runs of a plan, seed by seed, so that the first of them are a comparison too.

    Args:
        plan: The plan.
        folder: The plan's folder; the plan's paths are relative to it.

    Raises:
        ValueError: If the parameters of a cell are not valid, or it cannot be evaluated as the plan requires, or is not
            evaluated like the others.
    """
    points = [dict(zip(plan.grid, values, strict=True)) for values in product(*plan.grid.values())]
    presets = {name: _preset(name, method, folder) for name, method in plan.methods.items()}
    variants = plan.variants or {"": None}
    cells: list[Cell] = []
    for seed, (variant, setting), point, name in product(plan.seeds, variants.items(), points, plan.methods):
        variant_values = setting.set if setting else {}
        values = presets[name] | plan.set | plan.methods[name].set | variant_values | point
        cell = _cell(plan, folder, values | {"run.seed": seed}, (name, variant, point, seed))
        cells.append(cell)
    _require_alike(cells, plan.split)
    return cells


def _require_alike(cells: Sequence[Cell], split: str) -> None:
    """Raise an error if runs are not evaluated alike, as the curves and the final figures need.

    Raises:
        ValueError: With the different evaluation settings.
    """
    evaluations = {
        "the curves": [cell.params.evaluate for cell in cells],
        "the final figures": [final_params(cell.params, split).evaluate for cell in cells],
    }
    for part, settings in evaluations.items():
        names = dict[tuple[Any, ...], str]()
        for cell, by in zip(cells, settings, strict=True):
            names.setdefault((by.split, by.num_prompts, by.num_noises, by.num_steps), cell.name)
        if len(names) > 1:
            ways = "; ".join(f"{list(how)} for ({name})" for how, name in names.items())
            raise ValueError(
                f"Runs evaluated alike are required for {part}, got split, captions, noises and inference steps "
                f"{ways}. Set evaluate and report in the plan's set."
            )


def final_params(params: Params, split: str) -> Params:
    """Return the parameters by which the stage `evaluate` makes the final figures on a plan's split.

    Raises:
        ValueError: If neither report.split nor evaluate.split is that split.
    """
    if params.report.split == split:
        return for_report(params)
    if params.evaluate.split == split:
        return params
    raise ValueError(
        f"split: report.split or evaluate.split is required, which are {params.report.split} and "
        f"{params.evaluate.split}; got {split}. Change it in the plan."
    )


def _cell(plan: ComparisonPlan, folder: Path, values: Values, key: tuple[str, str, dict[str, Any], int]) -> Cell:
    overrides = [override(name, value) for name, value in values.items()]
    cell_name = ", ".join([part for part in key[:2] if part] + point_values(key[2]))
    try:
        params = load_params(folder / plan.params, overrides)
        rounds = rounds_within(params, plan.budget)
        params = params.with_values({"run.rounds": rounds})
        _check(params, plan)
    except ValueError as error:
        raise ValueError(f"In the plan, {plain(cell_name)}: {error}") from error
    return Cell(*key, params)


def _check(params: Params, plan: ComparisonPlan) -> None:
    """Raise the errors that a run would raise, as far as possible without loading a model."""
    check_names(params, {*params.score.rewards, *params.evaluate.rewards})
    by = final_params(params, plan.split)
    held_out(params)
    held_out(by)
    check_prompts(params)
    if plan.metric not in params.evaluate.rewards:
        raise ValueError(
            f"metric: one of evaluate.rewards is required, which are {', '.join(params.evaluate.rewards)}; got "
            f"{plan.metric}. Change it in the plan, or add it to evaluate.rewards."
        )


def _preset(name: str, method: Method, folder: Path) -> Values:
    """Return the values of a method's preset and of those that it extends, without the last file, by `section.key`."""
    if method.params is None:
        return {}
    key = f"methods.{name}.params"
    files = read_extending(folder / method.params, f"{key}: a preset", key)
    own = files[:-1] or files  # all values, if the preset extends nothing
    return {place: value for path, tree in reversed(own) for place, value in _flat(tree, path).items()}


def _flat(tree: Mapping[str, Any], path: Path) -> Values:
    odd = [section for section, keys in tree.items() if not isinstance(keys, dict)]
    if odd:
        raise ValueError(f"{path} must hold sections of parameters, got {odd[0]!r} with a single value. Correct it.")
    values = {f"{section}.{key}": value for section, keys in tree.items() for key, value in keys.items()}
    for key in values:
        check_key(str(path), key)
    return values


def require_distinct(cells: Sequence[Cell], keys: Sequence[str]) -> None:
    """Raise an error if two cells are the same run.

    Raises:
        ValueError: With their names.
    """
    names: dict[str, str] = {}
    for cell, key in zip(cells, keys, strict=True):
        if key in names:
            raise ValueError(
                f"Runs that differ are required, got the same run {key} for ({names[key]}) and for ({cell.name}): "
                "there is nothing to compare. Change one in the plan, or leave it out."
            )
        names[key] = cell.name
