"""The report of a finished run: a table, pictures, a page, and the numbers as JSON and CSV."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment

from flows.common.rows import write_csv
from flows.report.pictures import before_after, curves
from flows.report.published_methods import published
from stages.contract.declared_stages import STAGES
from stages.disk.files import write_json, write_text
from stages.disk.tables import read_table
from stages.params.record import Params
from stages.readings.best_round import best_round, held_out_history
from stages.readings.metrics import evaluation_metrics, finished_manifest, trained_rewards
from stages.store.run import Run


@dataclass(frozen=True)
class FinalEvaluations:
    """The evaluations of a run on `report.split`, as folders of tables: of its base, its last and its best policy."""

    base: Path
    aligned: Path
    """Of the last policy."""
    best: Path
    """Of the round that was best on `evaluate.split`; base or last may be it."""
    best_round: int

    @classmethod
    def within(cls, run: Run, params: Params) -> "FinalEvaluations":
        """Return those that `g2rpo train` leaves in the run itself."""
        last, best = min(run.num_finished, params.run.rounds), best_round(run, run.params())
        base, aligned, chosen = (run.evaluation_folder(number, params.report.split) for number in (0, last, best))
        return cls(base, aligned, chosen, best)

    @classmethod
    def outside(cls, run: Run, params: Params, out: Path) -> "FinalEvaluations":
        """Return those that `g2rpo evaluate` writes into a folder of their own."""
        last, best = min(run.num_finished, params.run.rounds), best_round(run, run.params())
        folders = {0: out / "base", last: out / "aligned"}
        return cls(folders[0], folders[last], folders.get(best, out / "best"), best)

    def all(self, last: int) -> dict[int, Path]:
        """Return the folder of each policy round that is judged."""
        return {0: self.base, self.best_round: self.best, last: self.aligned}


@dataclass(frozen=True)
class Report:
    """What a run came to. Example: `base["rule_strict"] = 0.39`, `aligned["rule_strict"] = 0.65`."""

    base: dict[str, float]
    aligned: dict[str, float]
    """The last policy."""
    best: dict[str, float]
    """The policy of `details["best_round"]`, which was the best on `evaluate.split`."""
    details: dict[str, Any]

    @property
    def values(self) -> dict[str, Any]:
        """All of it, as written to metrics.json."""
        return {"base": self.base, "aligned": self.aligned, "best": self.best, **self.details}


def measure(run: Run, params: Params, judged: FinalEvaluations) -> Report:
    """Return the final figures of a run."""
    metrics = run.metrics()[: params.run.rounds]
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
    base, aligned, best = map(evaluation_metrics, (judged.base, judged.aligned, judged.best))
    return Report(base, aligned, best, details | run.links)


def _evaluations_per_prompt(run: Run) -> float:
    """Return the transformer evaluations without gradient that a prompt of the first round cost."""
    folder = run.round_folder(0)
    spent = sum(finished_manifest(folder, STAGES[name])["evaluations"] for name in ("rollout", "complete"))
    return spent / read_table(folder / "prompts").num_rows


def write_report(run: Run, params: Params, judged: FinalEvaluations, out: Path) -> Report:
    """Write report.html, metrics.json, rounds.csv, held_out.csv and two pictures; return the figures."""
    out.mkdir(parents=True, exist_ok=True)
    report = measure(run, params, judged)
    history = held_out_history(run, params)
    write_json(out / "metrics.json", report.values)
    write_csv(out / "rounds.csv", [_round(row, params) for row in run.metrics()[: params.run.rounds]])
    write_csv(out / "held_out.csv", [{"round": number} | means for number, means in history.items()])
    before_after(judged.base, judged.aligned, params, out / "before_after.png")
    curves(run, params, out / "curves.png")
    template = files("flows").joinpath("templates/report.html").read_text()
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
    shown = page.render(
        report=report,
        history=history,
        trained=params.score.rewards,
        choose_by=params.evaluate.choose_by,
        params=(run.path / "params.yaml").read_text(),
        title=f"Run {run.key}",
    )
    write_text(out / "report.html", shown)
    return report


def _round(metrics: Mapping[str, float], params: Params) -> dict[str, float]:
    """Return a round as a row of rounds.csv: the trained reward as it is weighted, and how far the policy has moved."""
    rewards = trained_rewards(metrics)
    weights = params.integrate.reward_weights
    weighted = sum(weights[name] * value for name, value in rewards.items()) / sum(weights.values())
    moved = {name: metrics[f"update/{name}"] for name in ("kl", "grad_norm", "clip_frac", "loss")}
    return {"round": int(metrics["round"]), "trained_reward": weighted} | rewards | moved
