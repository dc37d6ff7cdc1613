from math import sqrt

import pytest
from tiny import tables

from stages.disk.tables import (
    ADVANTAGES,
    ANCHORS,
    TABLES,
    TENSOR,
    TRANSITIONS,
    arrow,
    read_shard,
    tensor,
    where,
    write_shard,
)
from stages.readings.trace import trace_prompt


def test_a_trace_of_a_round_by_hand_is_reported_line_by_line(linked):
    """Round 1 begins with w = 1: latents (1, 0); the branches are 0 and 2 g away at granularity g."""
    run = linked[0]
    std = {1: sqrt(2), 2: 2 * sqrt(2)}
    assert trace_prompt(run, 1, "p1").split("\n") == [
        "p1: 'a red circle' (train), noise seed 101",
        "",
        "anchor",
        "  step 0: sigma 1.0000 -> 0.5000, latents std 0.5000",
        "",
        "branches of step 0: 2, completed with 10 evaluations",
        f"  group of judge_a at granularity 1: mean 2.0000, std {std[1]:.4g}, divided by {std[1]:.4g}, weight 1",
        f"  group of judge_a at granularity 2: mean 3.0000, std {std[2]:.4g}, divided by {std[2]:.4g}, weight 1",
        "  branch  0: judge_a/1 1.0000 (-0.707) judge_a/2 1.0000 (-0.707) -> advantage -1.414",
        "    step 0: log-prob -1.000000, old -1.000000; seed 10",
        "  branch  1: judge_a/1 3.0000 (+0.707) judge_a/2 5.0000 (+0.707) -> advantage +1.414",
        "    step 0: log-prob -1.000000, old -1.000000; seed 11",
        "",
        "update",
        "  optimizer step 1: loss 0, ratio_mean 1, ratio_min 1, ratio_max 1, clip_frac 0, kl 0, grad_norm 0.5, "
        "learning_rate 0.0001, log_prob_gap 0",
    ]


def rewritten(folder, table, change):
    """Write a table's shard 1 again with other rows."""
    rows = read_shard(folder / table.name, 1)
    columns = {
        name: tensor(rows, name) if hasattr(rows[name].type, "shape") else rows[name].to_pylist()
        for name in rows.column_names
    }
    change(columns)
    (folder / table.name / "part-00001.parquet").unlink()
    write_shard(folder / table.name, 1, table, arrow(table, columns), stamp="1")


def test_a_floor_a_clamp_and_a_step_that_is_not_trained_are_reported(linked):
    folder = linked[0].round_folder(0)

    def harsher(columns):
        columns["clamped"][1] = True
        columns["summands"][0][0]["floored"] = True

    rewritten(folder, ADVANTAGES, harsher)
    rewritten(folder, TRANSITIONS, lambda columns: columns["step"].__setitem__(1, 2))
    text = trace_prompt(linked[0], 0, "p1")
    assert "branches of steps 0, 2: 2" in text
    assert f"divided by {sqrt(2):.4g} (a floor), weight 1" in text
    assert "-> advantage +1.414 clamped\n    step 2: log-prob -1.000000, not trained; seed 11" in text


def test_branches_of_own_noises_have_no_anchor(linked):
    folder = linked[0].round_folder(0)
    for shard in (0, 1):
        rows = read_shard(folder / "anchors", shard)
        columns = {name: tensor(rows, name) if kind == TENSOR else rows[name] for name, kind in ANCHORS.columns.items()}
        (folder / "anchors" / f"part-0000{shard}.parquet").unlink()
        own = arrow(ANCHORS, columns | {"origin": [0] * rows.num_rows})
        write_shard(folder / "anchors", shard, ANCHORS, own, stamp="1")
    assert "anchor\n  none: each branch starts from its own noise\n" in trace_prompt(linked[0], 0, "p0")


def test_a_round_that_is_not_finished_and_a_prompt_that_it_does_not_have_are_refused(linked):
    run = linked[0]
    with pytest.raises(
        ValueError, match=f"A finished round, counted from 0, is required, got 3; run {run.key} has finished 0 to 2"
    ):
        trace_prompt(run, 3, "p0")
    with pytest.raises(ValueError, match="Round 0 has the prompts p0, p1, got 'train-x'"):
        trace_prompt(run, 0, "train-x")


@pytest.mark.parametrize("table", ["transitions", "rewards"])
def test_a_missing_table_is_reported_with_what_makes_it_again(linked, table):
    run = linked[0]
    (run.round_folder(0) / table / "part-00001.parquet").unlink()
    with pytest.raises(ValueError) as refused:
        trace_prompt(run, 0, "p0")
    gone = run.round_folder(0) / table / "part-00001.parquet"
    assert str(refused.value) == (
        f"Every table of round 0 is required, got no {gone}: it was pruned or lost. `g2rpo stage complete --run "
        f"{run.key} --round 0 --force` rebuilds latents, `g2rpo train --run {run.key}` lost files."
    )


def test_a_trace_changes_nothing(linked, whole):
    trace_prompt(linked[0], 2, "p0")
    assert tables(linked[0].path) == tables(whole.path)


def test_an_advantage_without_its_rewards_is_refused_with_its_key(linked):
    folder = linked[0].round_folder(0)
    rows = read_shard(folder / "rewards", 0)
    (folder / "rewards" / "part-00000.parquet").unlink()
    write_shard(folder / "rewards", 0, TABLES["rewards"], where(rows, branch=0), stamp="1")
    with pytest.raises(ValueError, match=r"Each row of advantages needs a row of rewards .*\('p0', 0, 1\)"):
        trace_prompt(linked[0], 0, "p0")
