"""The report of a comparison: report.html, report.md, CSV files, plots for print, metrics.json, best.yaml."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.common.escape import page
from flows.common.rows import Row, Rows, pick, write_csv
from flows.compare.comparison import Comparison
from flows.compare.grid import best_yaml, grid_plot
from flows.compare.images import images_plot
from flows.compare.plan import ComparisonPlan, slug
from flows.compare.plots import curves_plot, final_plot, pareto_plot, steps_plot
from flows.compare.sections import (
    Section,
    cost_section,
    final_section,
    grid_section,
    origin_section,
    paired_section,
    steps_section,
)
from flows.compare.shown import Shown
from flows.compare.stored import Measured
from flows.compare.style import print_style
from flows.compare.tables import (
    at_best,
    base_table,
    best_of,
    cost_table,
    curves_table,
    final_table,
    paired_table,
    point_text,
    runs_table,
    tuning_table,
)
from stages.disk.files import make_folder, write_json, write_text

_FORMATS = ("html", "md")
_CURVES = (
    "Held-out captions during training: mean over seeds, and the band of the 95 % t-interval. Evaluations compare "
    "methods exactly, seconds also show their cost on this machine."
)
_PARETO = (
    "Each method's mean with its intervals, each seed a dot, the base a cross. Up and to the right is better; a method "
    "to the right of the base but not above it has learned the trained reward at the cost of the held-out ones."
)


@dataclass(frozen=True)
class Tables:
    """The tables that the report writes as CSV."""

    runs: Rows
    final: Rows
    paired: Rows
    curves: Rows
    cost: Rows
    tuning: Rows
    """The metric at every point of the grid, on the tuning captions; empty if there is no grid."""
    best: Rows

    @classmethod
    def of(cls, plan: ComparisonPlan, whole: Sequence[Measured]) -> "Tables":
        """Return the tables of complete runs."""
        runs = runs_table(whole)
        tuning = tuning_table(runs, whole, plan) if plan.grid else []
        best = best_of(tuning)
        return cls(
            runs=runs,
            final=final_table(runs, base_table(whole), plan),
            paired=[] if plan.grid else paired_table(runs, plan),
            curves=curves_table(whole),
            cost=cost_table(whole, plan),
            tuning=tuning,
            best=best,
        )


def write_report(comparison: Comparison, whole: Sequence[Measured], out: Path) -> None:
    """Write the report of the complete runs of a comparison into a folder; create the folder."""
    make_folder(out)
    plan, tables = comparison.plan, Tables.of(comparison.plan, whole)
    for name, rows in vars(tables).items():
        if rows:
            write_csv(out / f"{name}.csv", rows)
        else:
            (out / f"{name}.csv").unlink(missing_ok=True)  # of an earlier plan
    if tables.best:
        write_text(out / "best.yaml", best_yaml(tables.best, plan))
    write_json(out / "metrics.json", _metrics(tables.final, plan))
    shown = Shown.of(plan, whole, tables.best, tables.runs, tables.final, tables.curves)
    with print_style():
        sections = _sections(shown, tables, whole, out)
    command = f"g2rpo compare --plan {comparison.path}"
    sections.append(origin_section([each.links for each in whole], command))
    done = {each.placed.key for each in whole}
    missing = [placed.cell.name for placed in comparison.runs if placed.key not in done]
    text = comparison.path.read_text(encoding="utf-8")
    context = {"plan": plan, "text": text, "sections": sections, "missing": missing}
    for form in _FORMATS:
        write_text(out / f"report.{form}", page(f"compare.{form}", **context, lead=_lead(plan, whole)))


def _sections(shown: Shown, tables: Tables, whole: Sequence[Measured], out: Path) -> list[Section]:
    """Draw the plots and return the sections of the report, in order."""
    plan = shown.plan
    final_plot(shown, out)
    sections = [final_section(shown)]
    if tables.best:
        grid_plot(tables.tuning, tables.best, plan, out)
        sections.append(grid_section(tables.best, tables.tuning, plan))
    if against := paired_section(tables.paired, shown):
        sections.append(against)
    if len(shown.steps) > 1:
        sections.append(steps_section(shown, steps_plot(shown, out)))
    sections.append(Section("Over training", [_CURVES], pictures=_curves(shown, out)))
    if drawn := pareto_plot(shown, out):
        pictures = [(drawn, "Trained rewards against held-out rewards")]
        sections.append(Section("Trained against held out", [_PARETO], pictures=pictures))
    if pictures := _pictures(shown, whole, out):
        sections.append(Section("The same captions from the same noise", pictures=pictures))
    sections.append(cost_section(at_best(tables.cost, tables.best, plan) if tables.best else tables.cost, plan))
    return sections


def _curves(shown: Shown, out: Path) -> list[tuple[str, str]]:
    drawn = [variant for variant in shown.variants if pick(shown.curves, variant=variant)]
    return [(curves_plot(shown, v, out, _named("curves", v)), ", ".join(filter(None, ["Curves", v]))) for v in drawn]


def _pictures(shown: Shown, whole: Sequence[Measured], out: Path) -> list[tuple[str, str]]:
    """Draw an image grid for each variant, for the first seed with the most complete runs."""
    keys = {row["run_key"] for row in shown.runs}
    drawn: list[tuple[str, str]] = []
    for variant in shown.variants:
        complete = [each for each in whole if each.placed.cell.variant == variant and each.placed.key in keys]
        by_seed = [[each for each in complete if each.placed.cell.seed == seed] for seed in shown.plan.seeds]
        methods = list(shown.plan.methods)
        runs = sorted(max(by_seed, key=len), key=lambda each: methods.index(each.placed.cell.method))
        name = images_plot(runs, out, _named("images", variant)) if runs else None
        if name:
            drawn.append((name, ", ".join(filter(None, [f"Seed {runs[0].placed.cell.seed}", variant]))))
    return drawn


def _named(name: str, variant: str) -> str:
    return "-".join(filter(None, [name, slug(variant)]))


def _lead(plan: ComparisonPlan, whole: Sequence[Measured]) -> str:
    """Return a summary of the comparison in two sentences."""
    points = len({tuple(map(point_text, each.placed.cell.point.values())) for each in whole})
    parts = {"method": len(plan.methods), "variant": len(plan.variants), "point of a grid": points * bool(plan.grid)}
    parts["seed"] = len(plan.seeds)
    size = " × ".join(f"{number} {_plural(name, number)}" for name, number in parts.items() if number)
    params = whole[0].placed.by.evaluate
    noises = f"{params.num_noises} {_plural('noise', params.num_noises)} each"
    return (
        f"{size}. Each run trains for as many whole rounds as {plan.budget:,} transformer evaluations pay for "
        f"(forward 1, forward and backward 3); its last policy is evaluated on {params.num_prompts} {plan.split} "
        f"captions, {noises}."
    )


def _plural(name: str, number: int) -> str:
    head, space, tail = name.partition(" ")
    return name if number == 1 else f"{head}s{space}{tail}"


def _metrics(final: Rows, plan: ComparisonPlan) -> Row:
    """Return the means at the first number of inference steps, as a tree for `dvc metrics`."""
    tree: dict[str, Any] = {}
    for row in pick(final, num_steps=final[0]["num_steps"]):
        points = [f"{key}={row[key]}" for key in plan.grid]
        at = tree
        for name in [name for name in (row["variant"], row["method"], *points) if name]:
            at = at.setdefault(name, {})
        at[row["reward"]] = row["mean"]
    return tree
