"""The stage `integrate`: its parameters, and advantages that the table adds up to and that depend on no shard."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rounds import run_round
from tiny import tiny_params

from stages.contract.job import Job
from stages.disk.tables import REWARDS, arrow, read_table, shard_path, write_shard
from stages.engine.loaded_models import LoadedModels
from stages.integrate import run
from stages.readings.metrics import round_metrics
from stages.readings.trace import trace_prompt

TWO = (
    "score.rewards=[judge_a, clean_pixels]",
    "integrate.reward_weights={judge_a: 1.0, clean_pixels: 2.0}",
    "integrate.granularity_weights=[1.0, 0.5]",
)
KEY = ["prompt_id", "window", "branch"]
GROUP = ["prompt_id", "window", "reward", "granularity"]
NO_MODELS: Any = None


@pytest.fixture(scope="module")
def rewards():
    """Of four prompts, at two steps, three branches of two granularities, by two rewards: drawn, of unlike spreads."""
    random = np.random.default_rng(0)
    keys = itertools.product(["p0", "p1", "p2", "p3"], (0, 1), range(3), (1, 2), ("judge_a", "clean_pixels"))
    rows = pd.DataFrame(keys, columns=["prompt_id", "window", "branch", "granularity", "reward"])
    spreads = random.uniform(0.05, 0.3, rows.groupby(GROUP).ngroups)[rows.groupby(GROUP).ngroup()]
    return rows.assign(value=0.5 + spreads * random.normal(size=len(rows)))


def integrated(rewards, folder, *options, shards=1, shards_per_call=None):
    """The advantages that the stage makes of these rewards, cut into shards of whole prompts."""
    prompts = rewards["prompt_id"].unique()
    for shard, names in enumerate(np.array_split(prompts, shards)):
        selected = rewards[rewards["prompt_id"].isin(names)]
        rows = arrow(REWARDS, {name: selected[name].to_numpy() for name in REWARDS.columns})
        write_shard(folder / "rewards", shard, REWARDS, rows, stamp="")
    params = tiny_params(*TWO, *options)
    for part in shards_per_call or [None]:
        run(
            Job(params, 0, {"rewards": folder / "rewards"}, {"advantages": folder / "out"}, "s", part),
            NO_MODELS,
        )
    return read_table(folder / "out").to_pandas().sort_values(KEY, ignore_index=True)


def added_up(advantages):
    """The advantages that a reader of the table adds up from its summands."""
    return np.array([sum(s["weight"] * s["standardised"] for s in row) for row in advantages["summands"]])


OPTIONS = [
    (),
    ("integrate.normalise=mixed",),
    ("integrate.fusion=mean",),
    ("integrate.fusion=mean", "integrate.normalise=mixed", "integrate.clamp=0.2"),
    ("integrate.std_floor_frac=0.9",),
]


@pytest.mark.parametrize("options", OPTIONS)
def test_the_summands_of_the_table_add_up_to_the_advantage_before_the_clamp(rewards, tmp_path, options):
    advantages = integrated(rewards, tmp_path, *options)
    clamp = tiny_params(*options).integrate.clamp
    total = added_up(advantages)
    np.testing.assert_allclose(advantages["advantage"], total.clip(-clamp, clamp), rtol=0, atol=1e-12)
    assert (advantages["clamped"] == (np.abs(total) > clamp)).all()
    assert np.abs(total).max() > 0.1


@pytest.mark.parametrize("options", OPTIONS)
def test_a_summand_is_the_shifted_reward_over_its_divisor(rewards, tmp_path, options):
    value = rewards.set_index([*KEY, "reward", "granularity"])["value"]
    for row in integrated(rewards, tmp_path, *options).to_dict("records"):
        for s in row["summands"]:
            raw = value[(*(row[name] for name in KEY), s["reward"], s["granularity"])]
            assert s["standardised"] == pytest.approx((raw - s["group_mean"]) / s["divisor"], abs=1e-12)


def test_the_default_is_the_published_law_by_pandas(rewards, tmp_path):
    groups = rewards.groupby(GROUP)["value"]
    z = (rewards["value"] - groups.transform("mean")) / (groups.transform("std") + 1e-8)
    w = rewards["reward"].map({"judge_a": 1.0, "clean_pixels": 2.0}) * rewards["granularity"].map({1: 1.0, 2: 0.5})
    law = (w * z).groupby([rewards[name] for name in KEY]).sum().clip(-5, 5)
    advantages = integrated(rewards, tmp_path).set_index(KEY)["advantage"]
    pd.testing.assert_series_equal(advantages.sort_index(), law, check_names=False, check_index_type=False, rtol=1e-9)


@pytest.mark.parametrize("normalise", ["each", "mixed"])
def test_advantages_depend_neither_on_shards_nor_on_their_order(rewards, tmp_path, normalise):
    # a floor of nine tenths of the pooled spread acts on many groups
    options = ("integrate.std_floor_frac=0.9", f"integrate.normalise={normalise}")
    whole = integrated(rewards, tmp_path / "whole", *options)
    assert any(s["floored"] for row in whole["summands"] for s in row)
    parts = integrated(rewards, tmp_path / "parts", *options, shards=4, shards_per_call=[[2], [0, 3], [1]])
    for column in (*KEY, "advantage", "clamped"):
        assert parts[column].tolist() == whole[column].tolist()
    assert [list(row) for row in parts["summands"]] == [list(row) for row in whole["summands"]]


def test_the_floor_is_that_of_the_round_and_not_of_the_shard(rewards, tmp_path):
    # the last prompt says almost nothing: alone in its shard, it must be measured by the others all the same
    quiet = rewards.copy()
    last = quiet["prompt_id"] == quiet["prompt_id"].unique()[-1]
    quiet.loc[last, "value"] = 0.5 + 1e-3 * (quiet.loc[last, "value"] - 0.5)
    advantages = integrated(quiet, tmp_path, shards=4)
    rows = advantages[advantages["prompt_id"] == quiet["prompt_id"].unique()[-1]]
    assert all(s["floored"] for row in rows["summands"] for s in row)
    assert rows["advantage"].abs().max() < 0.5 < advantages["advantage"].abs().max()
    off = integrated(quiet, tmp_path / "off", "integrate.std_floor_frac=0.0", shards=4)
    assert off[off["prompt_id"] == quiet["prompt_id"].unique()[-1]]["advantage"].abs().max() > 0.5


def test_a_round_counts_its_floored_groups_and_a_trace_names_them(finished):
    made, params, _ = finished
    floored = params.with_values({"integrate.std_floor_frac": 0.9, "integrate.clamp": 0.5})
    run_round(made, floored, LoadedModels(floored))
    made.finish_round(0)
    advantages = read_table(made.round_folder(0) / "advantages").to_pandas()
    rows = [s for row in advantages["summands"] for s in row]
    frac = sum(s["divisor"] > s["group_std"] + 1e-7 for s in rows) / len(rows)
    assert 0 < frac < 1
    assert round_metrics(made, 0)["advantage/floored_frac"] == pytest.approx(frac)
    first = advantages.to_dict("records")[0]
    text = trace_prompt(made, 0, first["prompt_id"])
    assert "(a floor), weight 1" in text or ", weight 1" in text
    for s in first["summands"]:
        assert f"divided by {s['divisor']:.4g}" in text
        assert f"({s['weight'] * s['standardised']:+.3f})" in text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "granularity_weights=[1.0]",
            r"one weight for each of complete.granularities \[1, 2\] is required, got \[1.0\]",
        ),
        ("granularity_weights=[0.0, 0.0]", "granularity_weights: at least one must be above 0, got none. Raise one"),
        ("granularity_weights=[1.0, -1.0]", "greater than or equal to 0"),
        ("reward_weights={judge_b: 1.0}", r"reward_weights: one weight for each of score.rewards \['judge_a'\]"),
        ("reward_weights={judge_a: 0.0}", "reward_weights: at least one must be above 0, got none. Raise one"),
        ("fusion=max", "'sum' or 'mean', got 'max'"),
        ("normalise=both", "'each' or 'mixed', got 'both'"),
        ("std_floor_frac=-0.1", "greater than or equal to 0, got -0.1"),
    ],
)
def test_parameters_that_mean_nothing_are_refused(override, message):
    with pytest.raises(ValueError, match=message):
        tiny_params(f"integrate.{override}")


def test_no_shard_pending_reads_nothing(rewards, tmp_path):
    integrated(rewards, tmp_path)
    shard_path(tmp_path / "rewards", 0).unlink()
    params = tiny_params(*TWO)
    job = Job(params, 0, {"rewards": tmp_path / "rewards"}, {"advantages": tmp_path / "out"}, "s")
    run(job, NO_MODELS)
