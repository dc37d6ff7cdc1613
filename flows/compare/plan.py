"""The plan of a comparison: a YAML file of methods, seeds, variants and a budget, as strict as params.yaml."""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from g2rpo.messages import listed, plain, shown
from stages.params.faults import fault_lines, value_line
from stages.params.names import Name, Text, Title, check_key
from stages.params.section import Processes, Section, refuse_repeats
from stages.params.yaml import read_mapping

BASE = "base"
"""Name of the untrained policy in tables."""

_DECIDED = {"run.seed": "seeds", "run.rounds": "budget"}
"""Parameters of a run that are keys of the plan."""

_MOST_RUNS = 10_000

Values = Annotated[dict[Text, Any], Field(max_length=1000)]
"""Parameters by `section.key`."""


class Method(Section):
    """Parameters in which a method differs from the others. Example: params `methods/mix_grpo.yaml`, set {}."""

    params: Text | None = None
    """A preset, relative to the plan's folder. Its values, without those of the params.yaml that it extends at the
    end, override the plan's params; null for none."""
    set: Values = Field(default_factory=dict[str, Any])
    """Values that override all above, including the plan's `set`."""


class Variant(Section):
    """A setting in which all methods are compared. Example: two rewards in place of one."""

    set: Values
    """Values that override those of each method."""


class ComparisonPlan(Section):
    """A plan; the runs are methods x variants x grid x seeds.

    A run's parameters come from these, each overriding the earlier: `params`, the method's `params`, `set`, the
    method's `set`, the variant's `set`, the point of the grid, the seed, and the rounds that the budget pays for.
    """

    title: Title
    """Title of the report."""
    params: Text
    """The parameter file, or preset, of all runs, relative to the plan's folder."""
    set: Values = Field(default_factory=dict[str, Any])
    """Values for all runs that override `params` and the methods' presets."""
    budget: Annotated[int, Field(ge=1, le=10**12)]
    """Transformer evaluations of a run's training: a forward is 1, with its backward 3. It determines run.rounds."""
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**63)]], Field(min_length=1, max_length=1000)]
    """run.seed of each repetition. One seed gives no intervals and no tests."""
    processes: Processes
    """Runs at a time, each in a separate process with `resources.threads` threads."""
    methods: Annotated[dict[Title, Method], Field(min_length=1, max_length=100)]
    """The methods to compare, by their names in the report."""
    variants: dict[Title, Variant] = Field(default_factory=dict[str, Variant], max_length=100)
    """Settings in which all methods are compared, by name; without variants there is one setting without a name."""
    grid: dict[Text, Annotated[list[Any], Field(min_length=1, max_length=100)]] = Field(
        default_factory=dict[str, list[Any]], max_length=8
    )
    """Values to try for parameters, in all combinations; the tuning captions decide the best point of each method.
    There are no tests between methods then, since the same runs chose their points."""
    reference: Title
    """The method that the others are tested against."""
    metric: Name
    """The reward of the headline, one of evaluate.rewards."""
    split: Literal["test", "tuning"]
    """The captions of the final figures: those of report.split or of evaluate.split. A plan with a grid chooses
    points, so it requires tuning; use test for final results."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        refuse_repeats("seeds", self.seeds)
        for name, values in self.grid.items():
            refuse_repeats(f"grid.{name}", values)
        runs = math.prod(map(len, (self.seeds, self.methods, self.variants or " ", *self.grid.values())))
        if runs > _MOST_RUNS:
            raise ValueError(
                f"grid: at most {_MOST_RUNS:,} runs, methods x variants x grid x seeds, are required, got {runs:,}. "
                "Name fewer."
            )
        if self.reference not in self.methods:
            raise ValueError(
                f"reference: one of the methods {listed(self.methods)} is required, got {shown(self.reference)}. Name "
                "the method that the others are tested against."
            )
        if self.grid and self.split != "tuning":
            raise ValueError(
                f"split: tuning is required with a grid, got {self.split}. The best point is in part the luckiest, so "
                "that test figures of the same runs overestimate it. Choose points by this plan, then report them by "
                "another plan without a grid and with other seeds."
            )
        for place, names in (("methods", self.methods), ("variants", self.variants)):
            _check_names(place, names)
        given = {"set": self.set, "grid": self.grid}
        given |= {f"methods.{name}.set": method.set for name, method in self.methods.items()}
        given |= {f"variants.{name}.set": variant.set for name, variant in self.variants.items()}
        for place, values in given.items():
            _check_keys(place, values)
        return self


def load_plan(path: Path) -> ComparisonPlan:
    """Return the plan of a file. It checks the plan only; `cells_of` checks the parameters.

    Raises:
        ValueError: If it cannot be read or is not valid; every fault with its key, what is required, what was got
            and what to do.
    """
    tree = read_mapping(path, "A plan", "--plan FILE")
    try:
        return ComparisonPlan.model_validate(tree)
    except ValidationError as error:
        raise ValueError(f"The plan {path} is not valid; nothing was started.\n{fault_lines(error, _fault)}") from None


def slug(name: str) -> str:
    """Return a name as a part of a file's name. Example: "one reward" is `one-reward`."""
    return re.sub(r"\W+", "-", name).strip("-")


def point_values(values: Mapping[str, Any]) -> list[str]:
    """Return values as texts for users, e.g. `["update.learning_rate=0.0002"]`."""
    return [f"{key}={value}" for key, value in values.items()]


def _check_names(place: str, names: Iterable[str]) -> None:
    slugs = [slug(name) for name in names]
    if "" in slugs or len(set(slugs)) < len(slugs):
        raise ValueError(
            f"{place}: names that differ in a letter or digit are required, got {listed(map(repr, names))}. Rename."
        )
    if BASE in slugs:
        raise ValueError(f"{place}: names other than {BASE}, the untrained policy, are required. Rename.")


def _check_keys(place: str, values: Mapping[str, Any]) -> None:
    for key in values:
        check_key(place, key)
        if key in _DECIDED:
            raise ValueError(f"{place}.{key}: the plan's key {_DECIDED[key]} determines it, got it here. Remove it.")


def _fault(fault: Any) -> str:
    """Return one pydantic error as a line: key, required, got, do."""
    place = [str(part) for part in fault["loc"]]
    key, got = plain(".".join(place)), shown(fault["input"])
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    if fault["type"] == "missing":
        return f"{key}: required, got nothing. Add it; presets/compare.yaml is a complete plan."
    if fault["type"] == "extra_forbidden":
        inner = {"methods": Method, "variants": Variant} if len(place) > 1 else {}
        record = inner.get(place[0], ComparisonPlan)
        known = ", ".join(record.model_fields)
        return f"{key}: unknown key, got {got}. Remove it or correct it; known here: {known}."
    return value_line(key, fault, "the plan")
