from math import sqrt

import numpy as np
import pandas as pd
import pytest
from handmade import begun, finish, reward
from scipy import stats

from stages.readings.reward_spread import (
    agreement_table,
    group_agreements,
    group_spreads,
    jackknife_half_width,
    spread_table,
    stored_rewards,
)


def rewards(groups, *, run="a", first_round=0, step=0):
    """A table of rewards: one prompt per group, which has a list of rewards for each granularity."""
    rows = [
        {"round": first_round + number, "branch": branch, "granularity": granularity, "value": float(value)}
        for number, group in enumerate(groups)
        for granularity, values in group.items()
        for branch, value in enumerate(values)
    ]
    named = {"setting": "s", "run": run, "seed": run, "prompt_id": "p", "step": step, "reward": "judge"}
    return pd.DataFrame(rows).assign(**named)


def drawn(number, size=12, seed=0):
    return np.random.default_rng(seed).normal(size=(number, size))


def whole(table, **equal):
    """The one row of all runs, whole, all steps, and of the values given."""
    selected = table[(table["run"] == "all") & (table["step"] == "all")]
    selected = selected[(selected["first_round"] == 0) & (selected["last_round"] == table["last_round"].max())]
    for name, value in equal.items():
        selected = selected[selected[name] == value]
    (row,) = selected.to_dict("records")
    return row


UNTIED = {1: [1, 2, 6], 2: [2, 1, 3]}
TIED = {1: [1, 1, 2], 2: [3, 4, 5]}
SILENT = {1: [0, 4, 2], 2: [0.1 + 0.2, 0.1 + 0.2, 0.1 + 0.2]}


def test_spread_is_the_sample_std_of_a_group_and_exactly_zero_where_all_are_equal():
    spreads = group_spreads(rewards([UNTIED, SILENT])).set_index(["round", "granularity"])
    assert spreads["spread"].to_dict() == pytest.approx({(0, 1): sqrt(14 / 2), (0, 2): 1, (1, 1): 2, (1, 2): 0})
    assert spreads["spread"][1, 2] == 0
    assert spreads["zero"].to_dict() == {(0, 1): 0, (0, 2): 0, (1, 1): 0, (1, 2): 1}
    assert spreads["mean"][0, 1] == 3


def test_ranks_of_a_group_agree_as_derived_by_hand_ties_take_their_mean_rank():
    """Ranks 1 2 3 and 2 1 3: 1 - 6 (1 + 1) / (3 * 8). Tied 1.5 1.5 3 and 1 2 3: 1.5 / sqrt(1.5 * 2)."""
    agreements = group_agreements(rewards([UNTIED, TIED, SILENT]))
    assert agreements["rho"].tolist() == pytest.approx([0.5, sqrt(3) / 2, 0])
    assert agreements["defined"].tolist() == [1, 1, 0]
    sums = agreements[["xy", "xx", "yy"]].to_numpy()
    np.testing.assert_allclose(sums, [[4, 14, 2], [1, 2 / 3, 2], [0, 8, 0]], atol=1e-12)
    assert set(zip(agreements["granularity"], agreements["coarser"], strict=True)) == {(1, 2)}


def test_the_table_of_two_groups_is_the_one_derived_by_hand():
    """shared = (4 + 1)^2 / ((14 + 2/3) (2 + 2)); without one group each 4^2 / 28 and 1^2 / (4/3); t(1) = 12.706."""
    row = whole(agreement_table(rewards([UNTIED, TIED]), 1))
    assert row["spearman"] == pytest.approx((0.5 + sqrt(3) / 2) / 2)
    assert row["spearman_high"] - row["spearman"] == pytest.approx(12.7062 * (sqrt(3) / 2 - 0.5) / 2, rel=1e-5)
    assert row["shared_variance"] == pytest.approx(75 / 176)
    assert row["shared_variance"] - row["shared_variance_low"] == pytest.approx(12.7062 * (3 / 4 - 4 / 7) / 2, rel=1e-5)
    assert (row["undefined_frac"], row["interval_over"], row["units"], row["groups"]) == (0, "prompts", 2, 2)


def test_a_group_without_a_rank_correlation_is_left_out_of_the_mean_and_counted():
    row = whole(agreement_table(rewards([UNTIED, SILENT]), 1))
    assert row["spearman"] == pytest.approx(0.5)
    assert row["undefined_frac"] == 0.5
    assert row["shared_variance"] == pytest.approx(16 / (22 * 2))
    assert whole(spread_table(rewards([UNTIED, SILENT]), 1), granularity=2)["zero_spread_frac"] == 0.5


def test_a_shuffled_table_agrees_by_chance_and_an_identical_one_wholly():
    values = drawn(300)
    shuffled = np.random.default_rng(1).permuted(values, axis=1)
    table = rewards([{1: x, 2: y, 3: 5 - 2 * x, 4: np.exp(x), 5: x} for x, y in zip(values, shuffled, strict=True)])
    rows = {coarser: whole(agreement_table(table, 1), granularity=1, coarser=coarser) for coarser in (2, 3, 4, 5)}
    assert abs(rows[2]["spearman"]) < 3 / sqrt(300 * 11)
    assert rows[2]["spearman_low"] < 0 < rows[2]["spearman_high"]
    assert rows[2]["shared_variance"] < 9 / (300 * 11)
    for same, sign in ((5, 1), (3, -1)):
        assert rows[same]["spearman"] == pytest.approx(sign)
        assert rows[same]["shared_variance"] == pytest.approx(1)
        assert rows[same]["spearman_low"] == pytest.approx(rows[same]["spearman_high"])
    assert rows[4]["spearman"] == pytest.approx(1), "ranks know no scale"
    assert 0.3 < rows[4]["shared_variance"] < 0.9, "a line does"


def test_rank_correlations_are_those_of_scipy():
    values = np.random.default_rng(2).integers(0, 6, size=(50, 2, 8)).astype(float)
    rho = group_agreements(rewards([{1: x, 2: y} for x, y in values]))["rho"]
    assert rho.tolist() == pytest.approx([stats.spearmanr(x, y).statistic for x, y in values])


def test_the_interval_of_a_mean_is_its_t_interval():
    values = {"value": np.array([1.0, 2.0, 6.0]), "one": np.ones(3)}
    half = jackknife_half_width(values, lambda sums: sums["value"] / sums["one"])
    assert half == pytest.approx(4.30265 * sqrt(7 / 3), rel=1e-5)
    assert np.isnan(jackknife_half_width({"value": np.ones(1), "one": np.ones(1)}, lambda s: s["value"] / s["one"]))


def test_intervals_of_the_shared_variance_hold_the_truth_about_19_times_in_20():
    x, noise = np.random.default_rng(0).normal(size=(2, 100 * 30, 5))
    groups = group_agreements(rewards([{1: a, 2: a + b} for a, b in zip(x, noise, strict=True)]))
    truth, held = 0.5, 0
    for _, table in groups.groupby(groups["round"] // 30):
        sums = {name: table[name].to_numpy() for name in ("xy", "xx", "yy")}
        total = {name: values.sum() for name, values in sums.items()}
        held += abs(shared_variance(total) - truth) < jackknife_half_width(sums, shared_variance)
    assert 88 <= held <= 99


def shared_variance(sums):
    return sums["xy"] ** 2 / (sums["xx"] * sums["yy"])


def test_groups_of_one_prompt_are_one_unit():
    values = [{1: x} for x in drawn(20)]
    alone = whole(spread_table(rewards(values), 1))
    twice = whole(spread_table(pd.concat([rewards(values), rewards(values, step=1)]), 1))
    assert (twice["units"], twice["groups"]) == (20, 40)
    assert [twice[name] for name in ("spread", "spread_low")] == pytest.approx(
        [alone[name] for name in ("spread", "spread_low")]
    )


def test_three_runs_of_a_setting_are_the_units_and_two_are_not():
    runs = [rewards([{1: x * (1 + number)} for x in drawn(10)], run="abc"[number]) for number in range(3)]
    for some, over, units in ((runs[:2], "prompts", 20), (runs, "runs", 3)):
        row = whole(spread_table(pd.concat(some), 1))
        assert (row["interval_over"], row["units"]) == (over, units)
    table = spread_table(pd.concat(runs), 1)
    means = [whole(table.assign(run="all")[table["run"] == run])["spread"] for run in "abc"]
    half = stats.t.ppf(0.975, 2) * stats.sem(means)
    assert [row["spread"], row["spread_high"]] == pytest.approx([np.mean(means), np.mean(means) + half])


def test_phases_tell_how_the_spread_changes_and_steps_of_a_sliding_window_have_rows_where_they_were():
    early, late = ([{1: [-a, a]}] * 3 for a in (1, 3))
    table = spread_table(pd.concat([rewards(early), rewards(late, first_round=3, step=2)]), 2)
    of_all = table[table["run"] == "all"].set_index(["step", "first_round", "last_round"])["spread"]
    assert of_all.to_dict() == pytest.approx(
        {
            ("all", 0, 5): 2 * sqrt(2),
            ("all", 0, 2): sqrt(2),
            ("all", 3, 5): 3 * sqrt(2),
            (0, 0, 5): sqrt(2),
            (0, 0, 2): sqrt(2),
            (2, 0, 5): 3 * sqrt(2),
            (2, 3, 5): 3 * sqrt(2),
        }
    )


def test_one_granularity_has_spreads_and_an_agreement_table_of_no_rows():
    table = agreement_table(rewards([{1: [1, 2]}]), 4)
    assert len(table) == 0
    assert {"setting", "spearman", "spearman_low", "coarser"} <= set(table.columns)
    assert whole(spread_table(rewards([{1: [1, 2]}]), 4))["spread"] == pytest.approx(sqrt(0.5))


def test_no_phase_is_refused_with_a_remedy():
    with pytest.raises(ValueError, match="at least 1 phase, got 0. Raise --phases"):
        spread_table(rewards([UNTIED]), 0)


def test_the_rewards_of_a_run_are_those_of_its_finished_rounds_under_the_names_of_a_group():
    run, _ = begun("run.seed=7")
    with pytest.raises(ValueError, match=f"A run with a finished round is required, got none in {run.key}. Train it."):
        stored_rewards(run, "fine")
    for number in range(2):
        reward(run, number, {("p", 1, 2): [0.5 + number, 0.25]})
        finish(run)
    reward(run, 2, {("p", 1, 2): [9.0, 9.0]})  # not finished
    stored = stored_rewards(run, "fine")
    assert stored.to_dict("records") == [
        {"prompt_id": "p", "step": 1, "branch": branch, "granularity": 2, "reward": "judge_a", "value": value}
        | {"round": number, "setting": "fine", "run": run.key, "seed": "7"}
        for number, branch, value in [(0, 0, 0.5), (0, 1, 0.25), (1, 0, 1.5), (1, 1, 0.25)]
    ]
    assert group_spreads(stored)["mean"].tolist() == [0.375, 0.875]
