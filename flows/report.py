"""The report of a finished run: one table, two pictures, one page, one JSON file."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment

from flows.pictures import before_after, curves, held_out_history
from stages.files import atomic, read_json, write_json
from stages.metrics import evaluation_metrics
from stages.params import Params
from stages.store import Run
from stages.tables import read_table


@dataclass(frozen=True)
class Report:
    """What a run came to. Example: `base["rule_strict"] = 0.39`, `aligned["rule_strict"] = 0.65`."""

    base: dict[str, float]
    aligned: dict[str, float]
    details: dict[str, Any]

    @property
    def values(self) -> dict[str, Any]:
        """All of it, as written to metrics.json."""
        return {"base": self.base, "aligned": self.aligned, **self.details}


def measure(run: Run, params: Params) -> Report:
    """Return the final figures of a run that has reached its number of rounds."""
    metrics = run.metrics()[: params.run.rounds]
    base, aligned = (evaluation_metrics(run.evaluation_folder(n, params.report.split)) for n in (0, params.run.rounds))
    spent = sum(row["evaluations"] for row in metrics)
    details = {
        "rounds": params.run.rounds,
        "run_key": run.key,
        "seed": params.run.seed,
        "split": params.report.split,
        "evaluations_per_prompt": _evaluations_per_prompt(run),
        "evaluations": int(spent),
        "cpu_seconds": round(sum(row["cpu_seconds"] for row in metrics), 2),
        "wall_seconds": round(sum(v for row in metrics for k, v in row.items() if k.startswith("seconds/")), 2),
    }
    about = read_json(run.path / "run.json")
    return Report(base, aligned, details | {k: about[k] for k in ("git_commit", "git_dirty") if k in about})


def _evaluations_per_prompt(run: Run) -> float:
    """Return the transformer evaluations without gradient that a prompt of the first round cost."""
    folder = run.round_folder(0)
    spent = sum(read_json(folder / f"{stage}.json")["evaluations"] for stage in ("rollout", "complete"))
    return spent / read_table(folder / "prompts").num_rows


def write_report(run: Run, params: Params, out: Path, links: dict[str, str]) -> Report:
    """Write metrics.json, before_after.png, curves.png and report.html; return the figures.

    Args:
        links: Ids of this run elsewhere, such as `mlflow_run_id`.
    """
    out.mkdir(parents=True, exist_ok=True)
    measured = measure(run, params)
    report = Report(measured.base, measured.aligned, measured.details | links)
    write_json(out / "metrics.json", report.values)
    before_after(run, params, out / "before_after.png")
    curves(run, params, out / "curves.png")
    template = files("flows").joinpath("templates/report.html").read_text()
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
    with atomic(out / "report.html") as temporary:
        temporary.write_text(
            page.render(
                report=report,
                history=held_out_history(run, params),
                trained=params.score.rewards,
                params=(run.path / "params.yaml").read_text(),
                title=f"Run {run.key}",
            )
        )
    return report
