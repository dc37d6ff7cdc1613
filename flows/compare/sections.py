"""The sections of the report as texts, tables and pictures; the templates determine the layout."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import floor, isnan, log10

from flows.common.rows import Row, Rows, column, distinct, grouped, pick
from flows.compare.plan import ComparisonPlan, point_values
from flows.compare.shown import Shown

BEST = " ◂"
"""Marks the best point of a method."""
_DOTS = "Means with their intervals, each seed a dot; an interval wider than the plot is cut at its edge"
_LEAST_P = 0.001
_MOST = 6
"""Decimals."""
_SPLITS = {
    "test": "which were used neither to train nor to choose",
    "tuning": "which were used to choose, not to train",
}


@dataclass(frozen=True)
class Table:
    """A table of texts. Example: header ["method", "rule_strict"], rows [["g2rpo", "0.612 ± 0.024"]]."""

    header: list[str]
    rows: list[list[str]]
    num_names: int = 1
    """Number of columns at the left with names instead of numbers."""


@dataclass(frozen=True)
class Section:
    """A part of the report: a heading, paragraphs, tables and pictures with their captions."""

    title: str
    texts: list[str] = field(default_factory=list)
    tables: list[tuple[str, Table]] = field(default_factory=list)
    pictures: list[tuple[str, str]] = field(default_factory=list)
    """File names without suffix, with captions."""


def number(value: float, decimals: int, *, signed: bool = False) -> str:
    """Return a number with a true minus sign. Example: -0.0123 with 3 decimals is `−0.012`."""
    return f"{value:{'+' if signed else ''}.{decimals}f}".replace("-", "−")


def decimals_of(values: Iterable[float]) -> int:
    """Return the decimals for values of a reward: three digits of the largest value, at most 6 decimals.

    Example: 0.612 and 0.598 take 3, 22.41 takes 1, 0.0123 takes 4.
    """
    largest = max((abs(value) for value in values if not isnan(value)), default=1.0)
    return min(max(2 - floor(log10(largest)), 0), _MOST) if largest else 3


def probability(p: float) -> str:
    """Return a p-value as text; empty if there was no test."""
    if isnan(p):
        return ""
    return f"<{_LEAST_P}" if p < _LEAST_P else f"{p:.3f}"


def row_name(row: Row, plan: ComparisonPlan) -> str:
    """Return the name of a row: its method, and its point if the plan has a grid."""
    return ", ".join([row["method"], *point_values({key: row[key] for key in plan.grid})])


def final_section(shown: Shown) -> Section:
    """Return the final figures at the headline's number of inference steps, a table for each variant."""
    plan = shown.plan
    counts = sorted({row["n"] for row in shown.final if row["method"] in plan.methods})
    how = "mean ± half of the 95 % t-interval over seeds" if counts[-1] > 1 else "of one seed, so without intervals"
    text = f"On the {plan.split} captions, {_SPLITS[plan.split]}: {how}. The base is evaluated once."
    text += " Intervals are over seeds, for the same captions." * (counts[-1] > 1)
    text += f" The number of seeds differs: {', '.join(map(str, counts))}." * (len(counts) > 1)
    text += " Each method is shown at the point of the grid that is best for it." * bool(plan.grid)
    tables = _final_tables(shown, shown.steps[:1])
    return Section("Final figures", [text], tables, [("final", _DOTS)])


def steps_section(shown: Shown, plot: str) -> Section:
    """Return the final figures at the other numbers of inference steps."""
    pictures = [(plot, "Final figures over numbers of inference steps")]
    return Section("Other inference steps", [], _final_tables(shown, shown.steps[1:]), pictures)


def _final_tables(shown: Shown, steps: Sequence[int]) -> list[tuple[str, Table]]:
    return [
        (", ".join(filter(None, [variant, f"{number} inference steps"])), _final_table(shown, variant, number))
        for number in steps
        for variant in distinct(shown.final, "variant")
    ]


def _final_table(shown: Shown, variant: str, steps: int) -> Table:
    part = pick(shown.final, variant=variant, num_steps=steps)
    decimals = {name: decimals_of(column(pick(shown.final, reward=name), "mean")) for name in shown.rewards}
    rows: list[list[str]] = []
    for _, group in grouped(sorted(part, key=lambda row: row["method"] in shown.plan.methods), ["method"]):
        rewards = {row["reward"]: row for row in group}
        figures = [_mean(rewards.get(name), decimals[name]) for name in shown.rewards]
        is_base = group[0]["method"] not in shown.plan.methods
        rows.append([group[0]["method"] if is_base else row_name(group[0], shown.plan), *figures])
    return Table(["method", *(f"{name}{shown.mark(name, variant)}" for name in shown.rewards)], rows)


def _mean(row: Row | None, decimals: int) -> str:
    if row is None:
        return ""
    half = (row["high"] - row["low"]) / 2
    return number(row["mean"], decimals) + (f" ± {number(half, decimals)}" if not isnan(half) else "")


def paired_section(paired: Rows, shown: Shown) -> Section | None:
    """Return the tests against the reference; None if there is no other method, or only one seed."""
    tested = [row for row in paired if row["n"] > 1 and row["num_steps"] == shown.steps[0]]
    if not tested:
        return None
    reference = shown.plan.reference
    tables = [(v, _paired_table(pick(tested, variant=v), shown)) for v in distinct(tested, "variant")]
    text = (
        f"Each method less {reference}, paired by seed: mean difference with its 95 % t-interval, and p of the "
        "two-sided paired t-test; p (Holm) is corrected over all methods and variants of the same reward. Each "
        "interval is for one comparison, without correction: it may exclude 0 although p (Holm) is above .05."
    )
    return Section(f"Against {reference}", [text], tables)


def _paired_table(part: Rows, shown: Shown) -> Table:
    rows: list[list[str]] = []
    for reward in shown.rewards:
        decimals = min(decimals_of(column(pick(shown.final, reward=reward), "mean")) + 1, _MOST)
        for row in pick(part, reward=reward):
            low, high = (number(row[end], decimals, signed=True) for end in ("low", "high"))
            difference = number(row["difference"], decimals, signed=True)
            tests = [probability(row["p"]), probability(row["p_holm"])]
            rows.append([reward, row["method"], difference, f"{low} to {high}", *tests, str(row["n"])])
    header = ["reward", "method", "difference", "95 % interval", "p", "p (Holm)", "seeds"]
    return Table(header, rows, num_names=2)


def grid_section(best: Rows, tuning: Rows, plan: ComparisonPlan) -> Section:
    """Return the results of the grid: the metric at every point, one row per point, one column per method."""
    decimals, split = decimals_of(column(tuning, "mean")), tuning[0]["split"]
    tables = [
        (variant, _grid_table(pick(tuning, variant=variant), pick(best, variant=variant), plan, decimals))
        for variant in distinct(tuning, "variant")
    ]
    text = (
        f"{plan.metric} on the {split} captions, which decides the best point of each method; it is marked here, and "
        "written to best.yaml in the form of a plan."
    )
    edges = [row["method"] for row in best if any(_at_edge(row[key], plan.grid[key]) for key in plan.grid)]
    if edges:
        text += f" Best at the edge of the grid, so a wider one may be better: {', '.join(dict.fromkeys(edges))}."
    return Section("Grid", [text], tables, [("grid", f"{plan.metric} over the grid")])


def _grid_table(rows: Rows, best: Rows, plan: ComparisonPlan, decimals: int) -> Table:
    methods = distinct(best, "method")
    texts: list[list[str]] = []
    for point, group in grouped(rows, [*plan.grid]):
        by_method = {row["method"]: row for row in group}
        marks = [BEST * (by_method.get(method) in best) for method in methods]
        means = [_mean(by_method.get(method), decimals) for method in methods]
        texts.append([", ".join(point_values(point)), *(mean + mark for mean, mark in zip(means, marks, strict=True))])
    return Table(["point", *methods], texts)


def _at_edge(value: object, values: Sequence[object]) -> bool:
    numbers = sorted(each for each in values if isinstance(each, int | float))
    return len(numbers) == len(values) > 2 and value in (numbers[0], numbers[-1])


def cost_section(cost: Rows, plan: ComparisonPlan) -> Section:
    """Return the cost of a run of each method."""
    rows: list[list[str]] = []
    for row in cost:
        name = ", ".join(filter(None, [row_name(row, plan), row["variant"]]))
        thousand = 1000 * row["cpu_seconds"] / row["evaluations"]
        texts = [f"{row['rounds']:.4g}", f"{row['prompts']:.4g}", f"{row['evaluations']:,.0f}"]
        texts += [f"{row['evaluations_per_prompt']:,.0f}", f"{row['cpu_seconds']:,.1f}", f"{row['wall_seconds']:,.1f}"]
        rows.append([name, *texts, f"{thousand:.3g}", f"{row['peak_bytes'] / 2**30:.2f}"])
    header = ["method", "rounds", "prompts per round", "evaluations", "evaluations per prompt", "CPU-seconds"]
    header += ["wall-seconds", "CPU-seconds per 1,000 evaluations", "peak memory, GiB"]
    text = (
        "Of training only, as means over seeds. An evaluation is one row through the transformer: a forward is 1, with "
        "its backward 3; those of a prompt include rollout, completion and update. They do not include our own checks, "
        "but the seconds do: the KL to the base if it has no weight, and the log-probabilities of later minibatches "
        "before the first step. Seconds depend on the machine and its load; evaluations are exact."
    )
    return Section("Cost of a run", [text], [("", Table(header, rows))])


def origin_section(links: Sequence[Mapping[str, str]], command: str) -> Section:
    """Return the origin of the figures: commits, libraries, machines, and the command that makes them again."""
    names = {"git_commit": "commit", "code": "digest of the code", "torch": "torch", "machine": "machine"}
    values = {name: ", ".join(dict.fromkeys(link[name] for link in links if name in link)) for name in names}
    if any(link.get("git_dirty") == "true" for link in links):
        values["git_commit"] += ", with uncommitted changes"
    text = f"`{command}` writes this report again; the runs and their keys are in runs.csv."
    rows = [[title, values[name]] for name, title in names.items() if values[name]]
    return Section("Where it came from", [text], [("", Table(["", ""], rows, num_names=2))])
