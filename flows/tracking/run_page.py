"""Views of an experiment, by links: the columns that tell runs apart, and their pictures."""

import json
from collections.abc import Sequence

from stages.params.record import Params

KEY = "g2rpo"
"""Name of the view in the link: MLflow stores a shared view as a tag of the experiment."""

TAG = f"mlflow.sharedViewState.{KEY}"

_SETTINGS = ("rollout.method", "rollout.eta", "complete.granularities", "update.learning_rate", "run.seed")


def view_of(params: Params) -> str:
    """Return the view as JSON for MLflow's page: rounds, rewards, the settings that vary most; pictures, curves.

    Example: `{"selectedColumns": ["tags.`rounds`", "metrics.`held_out/tuning/rule_strict`", ...], ...}`.
    """
    evaluated = [f"held_out/{params.evaluate.split}/{name}" for name in params.evaluate.rewards]
    trained = [f"reward/{name}/mean" for name in params.score.rewards]
    columns = [
        *_named("tags", ["rounds"]),
        *_named("metrics", [*evaluated, *trained, "update/kl"]),
        *_named("params", _SETTINGS),
        *_named("tags", ["g2rpo.guard", "g2rpo.git_commit"]),
    ]
    widths = {column: 44 + 7 * len(column.split("`")[1]) for column in columns}
    table = {"selectedColumns": columns, "columnOrder": columns, "columnWidths": widths}
    return json.dumps(table | _pictures(params))


def note_of_experiment(experiment_id: str) -> str:
    """Return the description of the experiment, in Markdown, with links that work at any address of the server."""
    view = f"#/experiments/{experiment_id}/runs?viewStateShareKey={KEY}"
    return (
        f"Runs of G²RPO: [their rounds, rewards and settings]({view}), "
        f"[their pictures round by round, and curves]({view}&compareRunsMode=CHART). A run's description has the "
        "commands that reproduce it; its artifacts have the rewards of each prompt (`evaluations`)."
    )


def _pictures(params: Params) -> dict[str, object]:
    """Return the charts of the view: first the pictures of held-out prompts, with a slider, runs side by side."""
    section, chart = f"{KEY}-pictures", {"type": "IMAGE", "step": 0, "showRunParams": False}
    shared = {"deleted": False, "isGenerated": False}
    splits = (params.evaluate.split, params.report.split)
    charts = [
        chart
        | shared
        | {"uuid": f"{KEY}-{split}", "imageKeys": [f"held_out_{split}"], "runsCountToCompare": 10}
        | {"metricSectionId": section, "displayName": f"held-out prompts: {split}"}
        for split in splits
    ]
    named = {"uuid": section, "name": "pictures of held-out prompts", "display": True, "isReordered": True}
    return {"compareRunCharts": charts, "compareRunSections": [named | shared], "isAccordionReordered": True}


def _named(group: str, names: Sequence[str]) -> list[str]:
    return [f"{group}.`{name}`" for name in names]
