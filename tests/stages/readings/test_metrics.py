from math import expm1, log, sqrt

import pandas as pd
import pyarrow as pa
import pytest
from damage import edit, lose, replace
from handmade import begun, finish, first_value, forge, judge, without

from stages.contract.declared_stages import STAGES
from stages.readings.metrics import (
    _advantages,
    _first_ratio_gap,
    evaluation_metrics,
    finished_manifest,
    reported_rounds,
    round_metrics,
    trained_rewards,
    whole_evaluations,
)


def test_a_round_by_hand_has_the_metrics_derived_by_hand(linked):
    """Round 1 begins with w = 1: rewards 1 and 1 + 2 g at granularity g, of spread g sqrt(2); advantages +- sqrt(2)."""
    run = linked[0]
    edit(run.round_folder(1) / "score.json", lambda manifest: manifest.update(seconds=2.5, peak_bytes=7))
    metrics = round_metrics(run, 1)
    read = {name: metrics[name] for name in metrics if not name.startswith(("update/", "seconds/", "peak_bytes/"))}
    size = sum(path.stat().st_size for path in run.round_folder(1).glob("*/*"))
    assert read == pytest.approx(
        {
            **{"round": 2.0, "evaluations": 2 * (3 + 10) + 16, "bytes": size, "cpu_seconds": 6 * 0.5},
            **{"diversity/mean": 1.5, "diversity/step_0": 1.5},
            "reward/judge_a/mean": 2.5,
            "reward/judge_a/step_0/mean": 2.5,
            "reward/judge_a/step_0/spread": 1.5 * sqrt(2),
            "reward/judge_a/granularity_1/mean": 2.0,
            "reward/judge_a/granularity_1/spread": sqrt(2),
            "reward/judge_a/granularity_2/mean": 3.0,
            "reward/judge_a/granularity_2/spread": 2 * sqrt(2),
            "advantage/spread": sqrt(4 * 2 / 3),
            **{f"advantage/{name}_frac": 0.0 for name in ("clamped", "zero_spread", "floored")},
        }
    )
    assert {name: metrics[f"update/{name}"] for name in ("ratio_min", "ratio_max", "first_ratio_gap", "grad_norm")} == {
        **{"ratio_min": 1.0, "ratio_max": 1.0, "first_ratio_gap": 0.0, "grad_norm": 0.5}
    }
    assert "update/optimizer_step" not in metrics
    assert (metrics["seconds/score"], metrics["peak_bytes/score"], metrics["peak_bytes/update"]) == (2.5, 7.0, 100.0)


def test_a_stage_that_is_not_done_is_refused_with_its_folder(linked):
    run = linked[0]
    folder = run.round_folder(0)
    assert finished_manifest(folder, STAGES["score"])["number"] == 0
    (folder / "score.json").unlink()
    with pytest.raises(ValueError, match=f"Stage score must be done in {folder}, got no complete manifest. Run it."):
        round_metrics(run, 0)


def test_trained_rewards_are_the_means_over_a_rounds_pictures():
    metrics = {"reward/a/mean": 0.5, "reward/b/mean": 0.25, "reward/a/step_0/mean": 0.1, "update/kl": 0.0, "round": 1.0}
    assert trained_rewards(metrics) == {"a": 0.5, "b": 0.25}


@pytest.mark.parametrize(
    ("ratios", "log_prob_gap", "gap"),
    [
        ((0.75, 1.5), 0.0, 0.5),
        ((0.25, 1.5), 0.0, 0.75),
        ((1.0, 1.0), log(3), 2.0),
        ((1.0, 1.0), 1e-5, expm1(1e-5)),
        ((1.0, 1.0), 1e3, expm1(88)),
    ],
)
def test_the_gap_is_the_furthest_of_the_first_steps_ratios_from_1(ratios, log_prob_gap, gap):
    steps = {"ratio_min": [ratios[0], 0.0], "ratio_max": [ratios[1], 9.0], "log_prob_gap": [log_prob_gap, 9.0]}
    assert _first_ratio_gap(pd.DataFrame(steps)) == pytest.approx(gap)


def test_clamped_branches_and_silent_and_floored_groups_are_counted():
    silent, floored, plain = (
        {"group_std": std, "floored": low} for std, low in ((0.0, True), (0.1, True), (1.0, False))
    )
    groups = {("p", 0): [silent, plain], ("p", 1): [floored, plain]}
    rows = [
        {
            "prompt_id": p,
            "window": w,
            "branch": b,
            "advantage": float(b + w),
            "clamped": b + w == 2,
            "summands": summands,
        }
        for (p, w), summands in groups.items()
        for b in (0, 1)
    ]
    assert _advantages(pd.DataFrame(rows)) == pytest.approx(
        {
            "advantage/spread": sqrt(2 / 3),  # of 0, 1, 1, 2
            "advantage/clamped_frac": 0.25,
            "advantage/zero_spread_frac": 0.25,
            "advantage/floored_frac": 0.5,
        }
    )


def test_an_evaluation_has_the_mean_of_each_reward_and_by_number_of_steps():
    run, params = begun("evaluate.rewards=[judge_a, rule_soft]", "evaluate.num_steps=[4, 8]")
    folder = judge(run, params, 0, num_steps=(4, 8), rule_soft=[0.0, 1.0, 1.0, 1.0])
    assert evaluation_metrics(folder) == {
        **{"judge_a": 0.0, "rule_soft": 0.75, "judge_a/steps_8": 0.0, "rule_soft/steps_8": 0.75}
    }


def test_evaluations_count_whose_manifest_and_tables_are_there(linked):
    run = linked[0]
    all_of_them = run.evaluations()
    assert whole_evaluations(run) == all_of_them
    lose(run.evaluation_folder(1, "tuning") / "pictures/part-00000.parquet")
    replace(run.evaluation_folder(2, "tuning") / "evaluate.json", b"{")
    assert whole_evaluations(run) == [one for one in all_of_them if one not in ((1, "tuning"), (2, "tuning"))]


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (first_value(float("inf")), "inf"),
        (first_value(float("nan")), "nan"),
        (first_value(-1.7e308), "-1.7e[+]308"),
        (without("rule_soft"), "no rule_soft"),
        (lambda rows: rows.slice(1), "rewards that lack prompts"),
        (lambda rows: rows.slice(0, 8).filter(pa.array([True] * 7 + [False])), "rewards that lack prompts"),
    ],
)
def test_an_evaluation_that_only_looks_like_one_is_refused(change, got):
    run, params = begun("evaluate.rewards=[judge_a, rule_soft]")
    folder = judge(run, params, 0, rule_soft=[0.5] * 4)
    forge(folder, "evaluations", change)
    assert whole_evaluations(run) == [(0, "tuning")]
    with pytest.raises(ValueError, match=f"{folder} must be an evaluation as it was written, .*, got {got}. Remove"):
        evaluation_metrics(folder, params.evaluate.rewards)


def test_an_evaluation_may_have_more_rewards_than_are_asked_for():
    run, params = begun("evaluate.rewards=[judge_a, rule_soft]")
    assert evaluation_metrics(judge(run, params, 0), ["rule_soft"]) == {"judge_a": 0.0, "rule_soft": 0.0}


def test_the_rounds_of_a_report_are_those_that_were_asked_for():
    run, params = begun("run.rounds=2")
    for _ in range(3):
        finish(run)
    assert [row["round"] for row in reported_rounds(run, params, ["kl"])] == [1.0, 2.0]


@pytest.mark.parametrize("changed", [{"update/kl": None}, {"reward/judge_a/mean": None}, {"round": 7.0}])
def test_a_round_that_lacks_what_a_report_shows_is_refused(changed):
    run, params = begun()
    finish(run)
    finish(run, changed)
    with pytest.raises(ValueError, match=r"metrics/0001.json must hold the metrics of round 2, got no .*Run `g2rpo"):
        reported_rounds(run, params, ["kl"])
