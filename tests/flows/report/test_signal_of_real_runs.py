"""`g2rpo signal` of runs that were really made, by two methods, and that have lost their latents."""

import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rounds import new_run, run_round
from scipy import stats
from tiny import tiny_params

from flows.report.spread import setting_names, signal_of_runs
from stages.disk.tables import read_table
from stages.store.retention import prune

MIX = (
    "rollout.method=mix_grpo",
    "rollout.initial_noise=own",
    "rollout.window_size=1",
    "rollout.window_stride=1",
    "rollout.window_interval=1",
    "rollout.window_schedule=progressive",
    "complete.granularities=[1]",
)
TWO_REWARDS = ("score.rewards=[judge_a, rule_soft]", "integrate.reward_weights={judge_a: 1.0, rule_soft: 1.0}")


def made(*overrides):
    """A run of two rounds of which the first has lost its latents."""
    run, params, resources = new_run(tiny_params("retention.rounds=1", "rollout.group_size=4", *overrides))
    for number in range(2):
        run_round(run, params, resources, number)
        run.finish_round(number)
    prune(run, params)
    assert not (run.round_folder(0) / "completions").exists()
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("G2RPO_HOME", str(tmp_path_factory.mktemp("signal")))
        yield {
            "seed 0": made(*TWO_REWARDS),
            "seed 1": made(*TWO_REWARDS, "run.seed=1"),
            "mix_grpo": made(*TWO_REWARDS, *MIX),
        }


def rewards(*runs):
    tables = [
        read_table(run.round_folder(n) / "rewards").to_pandas().assign(run=run.key, round=n)
        for run in runs
        for n in (0, 1)
    ]
    return pd.concat(tables)


def test_the_tables_say_what_the_stored_rewards_of_pruned_runs_do(runs, tmp_path):
    both = [runs["seed 0"], runs["seed 1"]]
    signal_of_runs([run.key for run in both], tmp_path, phases=2)
    spreads, agreements = (
        pd.read_csv(tmp_path / f"{name}.csv", dtype={"step": str}) for name in ("signal", "agreement")
    )
    groups = rewards(*both).query("window == 1").groupby(["run", "round", "prompt_id", "reward"])
    wide = {key: group.pivot(index="branch", columns="granularity", values="value") for key, group in groups}
    for reward in ("judge_a", "rule_soft"):
        chosen = [group for key, group in wide.items() if key[-1] == reward]
        asked = "run == 'all' and reward == @reward and step == '1' and first_round == 0 and last_round == 1"
        told = spreads.query(asked).set_index("granularity")
        for granularity in (1, 2):
            assert told["spread"][granularity] == pytest.approx(np.mean([group[granularity].std() for group in chosen]))
        assert set(told["groups"]) == {2 * 2 * 4}
        by_rank = [stats.spearmanr(group[1], group[2]).statistic for group in chosen if group.nunique().min() > 1]
        assert agreements.query(asked)["spearman"].tolist() == pytest.approx([np.mean(by_rank)])
    assert set(spreads["run"]) == {"all", *(run.key for run in both)}
    assert set(zip(spreads["first_round"], spreads["last_round"], strict=True)) == {(0, 1), (0, 0), (1, 1)}


def test_the_page_gives_the_figures_of_the_table_and_the_command_that_makes_them_again(runs, tmp_path):
    key = runs["seed 0"].key
    told = signal_of_runs([key, key[:8]], tmp_path, phases=2)
    assert f"of 1 runs, {len(rewards(runs['seed 0']))} rewards" in told
    page = (tmp_path / "signal.md").read_text()
    assert f"g2rpo signal --run {key} --phases 2 --out {tmp_path}" in page
    row = pd.read_csv(tmp_path / "signal.csv").query("run == 'all' and reward == 'rule_soft' and step == 'all'").iloc[0]
    said = rf"\| all \| {row['spread']:#.3g} \[{row['spread_low']:#.3g}, {row['spread_high']:#.3g}\]"
    section = page.split(r"## granularities=\[1, 2\]: rule_soft")[1]
    assert re.search(said, section)
    assert [line[2:8] for line in section.splitlines() if " to " in line] == ["1 to 2", "1 to 1", "2 to 2"] * 2
    assert np.asarray(Image.open(tmp_path / "signal.png").convert("L")).std() > 10


def test_methods_are_read_alike_and_a_run_of_one_granularity_has_no_agreement(runs, tmp_path):
    both = [runs["mix_grpo"], runs["seed 0"]]
    signal_of_runs([run.key for run in both], tmp_path, phases=2)
    table = pd.read_csv(tmp_path / "signal.csv")
    names = setting_names(both)
    mixed = table[(table["setting"] == names[both[0].key]) & (table["run"] == "all")]
    assert set(zip(mixed["step"], mixed["first_round"], mixed["last_round"], strict=True)) == {
        *(("all", *rounds) for rounds in ((0, 1), (0, 0), (1, 1))),
        *(("0", 0, 1), ("0", 0, 0), ("1", 0, 1), ("1", 1, 1)),
    }
    assert set(pd.read_csv(tmp_path / "agreement.csv")["setting"]) == {names[both[1].key]}
    signal_of_runs([both[0].key], tmp_path / "alone", phases=2)
    assert len(pd.read_csv(tmp_path / "alone/agreement.csv")) == 0
    assert "Rank agreement with" not in (tmp_path / "alone/signal.md").read_text().split("## ")[1]


def test_settings_are_named_by_what_they_differ_in_and_seeds_share_one(runs):
    found = setting_names(list(runs.values()))
    assert found[runs["seed 0"].key] == found[runs["seed 1"].key]
    assert found[runs["mix_grpo"].key].startswith("method=mix_grpo, granularities=[1]")
    assert set(setting_names([runs["seed 0"], runs["seed 1"]]).values()) == {"granularities=[1, 2]"}


@pytest.mark.slow
def test_the_command_asks_stored_runs(trained, tmp_path):
    key = trained.run_folder().name
    done = trained("signal", "--run", key, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"signal.csv", "agreement.csv", "signal.png", "signal.md"}
