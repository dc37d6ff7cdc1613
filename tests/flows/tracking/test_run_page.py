"""How an experiment opens in MLflow."""

import json

import pytest
from tiny import tiny_params

from flows.tracking.run_page import note_of_experiment, view_of

PARAMS = (
    "score.rewards=[judge_a]",
    "integrate.reward_weights={judge_a: 1.0}",
    "evaluate.rewards=[judge_b, rule_soft]",
    "evaluate.split=tuning",
    "evaluate.choose_by=rule_soft",
    "report.split=test",
)


@pytest.fixture
def view():
    return json.loads(view_of(tiny_params(*PARAMS)))


def test_a_table_opens_on_rounds_rewards_and_the_settings_that_vary_most(view):
    assert view["selectedColumns"] == [
        "tags.`rounds`",
        "metrics.`held_out/tuning/judge_b`",
        "metrics.`held_out/tuning/rule_soft`",
        "metrics.`reward/judge_a/mean`",
        "metrics.`update/kl`",
        "params.`rollout.method`",
        "params.`rollout.eta`",
        "params.`complete.granularities`",
        "params.`update.learning_rate`",
        "params.`run.seed`",
        "tags.`g2rpo.guard`",
        "tags.`g2rpo.git_commit`",
    ]
    assert view["columnOrder"] == view["selectedColumns"]
    assert view["columnWidths"]["tags.`rounds`"] == 44 + 7 * 6
    assert view["columnWidths"].keys() == set(view["selectedColumns"])


def test_the_charts_are_pictures_of_held_out_prompts_in_one_section(view):
    (section,) = view["compareRunSections"]
    assert section["display"] is True
    assert [(chart["type"], chart["imageKeys"], chart["metricSectionId"]) for chart in view["compareRunCharts"]] == [
        ("IMAGE", ["held_out_tuning"], section["uuid"]),
        ("IMAGE", ["held_out_test"], section["uuid"]),
    ]
    assert [chart["displayName"] for chart in view["compareRunCharts"]] == [
        "held-out prompts: tuning",
        "held-out prompts: test",
    ]
    assert len({chart["uuid"] for chart in view["compareRunCharts"]}) == 2


def test_an_experiment_links_to_its_table_and_charts_at_any_address():
    said = note_of_experiment("7")
    table, charts = (part.split(")")[0] for part in said.split("](")[1:])
    assert table == "#/experiments/7/runs?viewStateShareKey=g2rpo"
    assert charts == f"{table}&compareRunsMode=CHART"
