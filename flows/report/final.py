"""The report of a finished run: a page with table and pictures, and the numbers as JSON and CSV."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.common.escape import page
from flows.common.rows import write_csv
from flows.report.pictures import before_after, curves
from flows.report.published_methods import published
from stages.contract.declared_stages import STAGES
from stages.disk.files import write_json, write_text
from stages.disk.tables import read_table
from stages.params.record import Params
from stages.readings.best_round import best_round, held_out_history
from stages.readings.metrics import evaluation_metrics, finished_manifest, reported_rounds
from stages.store.run import Run

_UPDATES = ("kl", "grad_norm", "clip_frac", "loss")
"""What rounds.csv has of a round's update."""


@dataclass(frozen=True)
class FinalEvaluations:
    """The evaluations of a run on `report.split`, as folders of tables: base, last and best policy."""

    base: Path
    aligned: Path
    """Folder of the last policy."""
    best: Path
    """Folder of the best round on `evaluate.split`; it may be that of base or last policy."""
    best_round: int

    @classmethod
    def within(cls, run: Run, params: Params) -> "FinalEvaluations":
        """Return the folders that `g2rpo train` writes within the run."""
        last, best = min(run.num_finished, params.run.rounds), best_round(run, run.params())
        base, aligned, of_best = (run.evaluation_folder(number, params.report.split) for number in (0, last, best))
        return cls(base, aligned, of_best, best)

    @classmethod
    def outside(cls, run: Run, params: Params, out: Path) -> "FinalEvaluations":
        """Return the folders that `g2rpo evaluate` writes below `out`."""
        last, best = min(run.num_finished, params.run.rounds), best_round(run, run.params())
        folders = {0: out / "base", last: out / "aligned"}
        return cls(folders[0], folders[last], folders.get(best, out / "best"), best)

    def all(self, last: int) -> dict[int, Path]:
        """Return the folder of each evaluated policy round."""
        return {0: self.base, self.best_round: self.best, last: self.aligned}


@dataclass(frozen=True)
class Report:
    """The results of a run. Example: `base["rule_strict"] = 0.39`, `aligned["rule_strict"] = 0.65`."""

    base: dict[str, float]
    aligned: dict[str, float]
    """The last policy."""
    best: dict[str, float]
    """The policy of `details["best_round"]`, which was the best on `evaluate.split`."""
    details: dict[str, Any]

    @property
    def values(self) -> dict[str, Any]:
        """The whole report, as in metrics.json."""
        return {"base": self.base, "aligned": self.aligned, "best": self.best, **self.details}


def measure(run: Run, params: Params, judged: FinalEvaluations) -> Report:
    """Return the final figures of a run.

    Raises:
        ValueError: If a metric of a round is missing, or an evaluation is damaged or has other rewards than the base's.
    """
    metrics = reported_rounds(run, params, _UPDATES)
    spent = sum(row["evaluations"] for row in metrics)
    details = {
        "rounds": len(metrics),
        "best_round": judged.best_round,
        "method": published(params).name,
        "run_key": run.key,
        "seed": params.run.seed,
        "split": params.report.split,
        "evaluations_per_prompt": _evaluations_per_prompt(run),
        "evaluations": int(spent),
        "cpu_seconds": round(sum(row["cpu_seconds"] for row in metrics), 2),
        "wall_seconds": round(sum(v for row in metrics for k, v in row.items() if k.startswith("seconds/")), 2),
    }
    base = evaluation_metrics(judged.base)
    aligned, best = (evaluation_metrics(folder, base) for folder in (judged.aligned, judged.best))
    return Report(base, aligned, best, details | run.links)


def _evaluations_per_prompt(run: Run) -> float:
    """Return the transformer evaluations without gradient per prompt of the first round."""
    folder = run.round_folder(0)
    spent = sum(finished_manifest(folder, STAGES[name])["evaluations"] for name in ("rollout", "complete"))
    return spent / read_table(folder / "prompts").num_rows


def write_report(run: Run, params: Params, judged: FinalEvaluations, out: Path) -> Report:
    """Write report.html, metrics.json, rounds.csv, held_out.csv and two pictures; return the figures."""
    out.mkdir(parents=True, exist_ok=True)
    report = measure(run, params, judged)
    history = held_out_history(run, params)
    write_json(out / "metrics.json", report.values)
    write_csv(out / "rounds.csv", [_round(row, params) for row in reported_rounds(run, params, _UPDATES)])
    write_csv(out / "held_out.csv", [{"round": number} | means for number, means in history.items()])
    before_after(judged.base, judged.aligned, params, out / "before_after.png")
    curves(run, params, out / "curves.png")
    html = page(
        "report.html",
        report=report,
        history=history,
        columns=next(iter(history.values()), report.base),
        trained=params.score.rewards,
        choose_by=params.evaluate.choose_by,
        params=(run.path / "params.yaml").read_text(encoding="utf-8"),
        title=f"Run {run.key}",
    )
    write_text(out / "report.html", html)
    return report


def _round(metrics: Mapping[str, float], params: Params) -> dict[str, float]:
    """Return a round as a row of rounds.csv: the weighted trained reward, and how far the policy has moved."""
    rewards = {name: metrics[f"reward/{name}/mean"] for name in params.score.rewards}
    weights = params.integrate.reward_weights
    weighted = sum(weights[name] * value for name, value in rewards.items()) / sum(weights.values())
    moved = {name: metrics[f"update/{name}"] for name in _UPDATES}
    return {"round": int(metrics["round"]), "trained_reward": weighted} | rewards | moved
