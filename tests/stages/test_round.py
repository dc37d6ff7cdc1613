import numpy as np
import pandas as pd
import pytest
import torch
from rounds import new_run, run_round
from tiny import tables, tiny_params

from g2rpo.tree import evaluations_per_prompt
from stages.contract.declared_stages import ROUND_STAGES, STAGES
from stages.disk.files import read_json
from stages.disk.foreign_keys import check_parents
from stages.disk.policy_state import policy_state
from stages.disk.tables import TABLES, arrow, read_table, shard_path, tensor, write_shard
from stages.engine.execute import run_stage
from stages.engine.loaded_models import LoadedModels
from stages.readings.metrics import round_metrics

pytestmark = pytest.mark.long


def test_every_table_has_its_keys_and_every_row_its_parents(finished):
    folder = finished[0].round_folder(0)
    tables = {name: read_table(folder / name) for name in TABLES if (folder / name).is_dir()}
    assert set(tables) == set(TABLES) - {"texts", "evaluations", "pictures"}
    for name, rows in tables.items():
        table = TABLES[name]
        assert rows.column_names == list(table.columns)
        assert not rows.select(table.key).to_pandas().duplicated().any()
        check_parents(rows, table, tables)
    branches = 4 * 2 * 3  # prompts, steps, group
    assert (tables["prompts"].num_rows, tables["anchors"].num_rows) == (4, 8)
    assert (tables["transitions"].num_rows, tables["completions"].num_rows) == (branches, 2 * branches)


def test_a_prompt_costs_what_the_tree_says_and_the_tables_tell_it(finished):
    folder = finished[0].round_folder(0)
    completed = int(np.sum(read_table(folder / "completions")["evaluations"].to_numpy()))
    manifests = {name: read_json(folder / f"{name}.json") for name in ("rollout", "complete")}
    assert completed == manifests["complete"]["evaluations"]
    spent = completed + manifests["rollout"]["evaluations"]
    assert spent == 4 * evaluations_per_prompt(4, [0, 1], 3, [1, 2])


def test_a_stage_that_is_done_is_skipped(finished):
    assert all(done.skipped for done in run_round(*finished))


def test_running_a_stage_again_gives_the_same_bytes(finished):
    run = finished[0]
    before = tables(run.path)
    assert not any(done.skipped for done in run_round(*finished, force=True))
    assert tables(run.path) == before


def test_a_process_that_resumes_makes_what_one_process_makes(started):
    run, params, resources = started
    for number in (0, 1):
        run_round(run, params, resources, number)
    straight = tables(run.path)
    for path in run.round_folder(1).rglob("*"):
        if path.is_file():
            path.unlink()
    run_round(run, params, LoadedModels(params), number=1)  # weights and moments from disk
    assert tables(run.path) == straight


@pytest.mark.parametrize("ema_decay", ["null", "0.5"])
def test_the_policy_on_disk_is_the_policy_in_memory(finished, ema_decay):
    run, _, _ = finished
    params = tiny_params(f"update.ema_decay={ema_decay}")
    resources = LoadedModels(params)
    run_stage(run, STAGES["update"], 0, params, resources, force=True)
    folder = run.policy_folder(1)
    for averaged in (True, False):
        held = resources.policy(folder, averaged=averaged).module.state_dict()
        fresh = LoadedModels(params).policy(folder, averaged=averaged).module.state_dict()
        assert all(torch.equal(held[name], fresh[name]) for name in fresh)
    assert policy_state(folder).num_steps == 1
    assert policy_state(folder).has_average == (ema_decay != "null")


def test_shards_made_apart_are_the_table_made_at_once(started):
    run, params, resources = started
    prompts, rollout = STAGES["prompts"], STAGES["rollout"]
    run_stage(run, prompts, 0, params, resources)
    first = run_stage(run, rollout, 0, params, resources, shards=[1])
    assert first.manifest is None
    second = run_stage(run, rollout, 0, params, LoadedModels(params), shards=[0])
    assert second.manifest is not None
    apart = tables(run.path)
    run_stage(run, rollout, 0, params, resources, force=True)
    assert tables(run.path) == apart


def test_noise_does_not_depend_on_sharding_and_results_agree_to_rounding():
    tables = []
    for shard_size in (1, 4):
        run, params, resources = new_run(tiny_params(f"prompts.shard_size={shard_size}"))
        for stage in ("prompts", "rollout", "complete", "score"):
            run_stage(run, STAGES[stage], 0, params, resources)
        folder = run.round_folder(0)
        tables.append({name: read_table(folder / name) for name in ("transitions", "completions", "rewards")})
    one, four = tables
    assert one["transitions"]["seed"].to_pylist() == four["transitions"]["seed"].to_pylist()
    for name, column in (("transitions", "next_latents"), ("completions", "latents")):
        np.testing.assert_allclose(tensor(one[name], column), tensor(four[name], column), rtol=0, atol=1e-5)
    np.testing.assert_allclose(one["rewards"]["value"].to_numpy(), four["rewards"]["value"].to_numpy(), atol=1e-4)


def test_a_branch_differs_from_its_siblings_by_its_noise_alone(finished):
    transitions = read_table(finished[0].round_folder(0) / "transitions").to_pandas()
    assert transitions["seed"].is_unique
    group = transitions[(transitions.prompt_id == transitions.prompt_id[0]) & (transitions.window == 0)]
    assert len({values.tobytes() for values in group["next_latents"]}) == 3


def test_advantages_are_the_summed_scores_of_the_reward_table(finished):
    folder = finished[0].round_folder(0)
    rewards = read_table(folder / "rewards").to_pandas()
    groups = rewards.groupby(["prompt_id", "window", "granularity"])["value"]
    rewards["score"] = (rewards["value"] - groups.transform("mean")) / groups.transform("std")
    key = ["prompt_id", "window", "branch"]
    expected = rewards.groupby(key)["score"].sum()
    advantages = read_table(folder / "advantages").to_pandas().set_index(key)["advantage"]
    pd.testing.assert_series_equal(advantages.sort_index(), expected.sort_index(), check_names=False, rtol=1e-5)


def test_a_stage_without_its_input_says_which_stage_to_run(started):
    run, params, resources = started
    with pytest.raises(ValueError, match=r"Stage score reads the table prompts.*Run stage prompts of this round first"):
        run_stage(run, STAGES["score"], 0, params, resources)


def test_a_stage_killed_between_shards_continues_and_has_the_whole_cost(started):
    run, params, resources = started
    prompts, rollout, complete = (STAGES[name] for name in ("prompts", "rollout", "complete"))
    run_stage(run, prompts, 0, params, resources)
    for stage in (rollout, complete):
        assert run_stage(run, stage, 0, params, resources, shards=[1]).manifest is None
        folder = run.round_folder(0) / stage.outputs[0]
        (folder / ".part-00000.parquet.999.tmp").write_bytes(b"half")
        before = shard_path(folder, 1).stat().st_mtime_ns
        whole = run_stage(run, stage, 0, params, LoadedModels(params)).manifest
        assert shard_path(folder, 1).stat().st_mtime_ns == before  # it was not made again
        assert not list(folder.glob(".*"))
        again = run_stage(run, stage, 0, params, resources, force=True).manifest
        assert whole["evaluations"] == again["evaluations"]
    assert run_stage(run, rollout, 0, params, resources).manifest["evaluations"] == 4 * 2  # prompts, visited steps


def test_a_stage_whose_shard_has_vanished_is_run_again(finished):
    run, params, resources = finished
    before = tables(run.path)
    shard_path(run.round_folder(0) / "transitions", 1).unlink()
    assert not run_stage(run, STAGES["rollout"], 0, params, resources).skipped
    assert tables(run.path) == before


def test_a_forced_stage_that_is_interrupted_is_not_done(finished):
    run, params, resources = finished
    run_stage(run, STAGES["rollout"], 0, params, resources)

    class Interrupted(LoadedModels):
        def field(self, *words, **named):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage(run, STAGES["rollout"], 0, params, Interrupted(params), force=True)
    assert not run_stage(run, STAGES["rollout"], 0, params, resources).skipped


def test_a_shard_that_the_round_has_not_is_refused(finished):
    run, params, resources = finished
    with pytest.raises(ValueError, match=r"This round has the shards \[0, 1\], got \[7\]"):
        run_stage(run, STAGES["score"], 0, params, resources, shards=[7], force=True)


def test_groups_of_equal_rewards_have_no_advantage_and_are_counted(finished):
    # the strict rule is 0 or 1: a group of three is often all wrong
    rule = ["score.rewards=[rule_strict]", "integrate.reward_weights={rule_strict: 1.0}"]
    run, params = finished[0], tiny_params(*rule)
    done = run_round(run, params, LoadedModels(params))
    assert [d.stage for d in done if not d.skipped] == ["score", "integrate", "update"]
    rewards = read_table(run.round_folder(0) / "rewards").to_pandas()
    spread = rewards.groupby(["prompt_id", "window", "granularity"])["value"].std()
    metrics = round_metrics(run, 0)
    assert metrics["advantage/zero_spread_frac"] == (spread == 0).mean() > 0
    advantages = read_table(run.round_folder(0) / "advantages").to_pandas()
    flat = spread.groupby(["prompt_id", "window"]).max() == 0
    quiet = advantages.set_index(["prompt_id", "window"]).loc[flat[flat].index]
    assert (quiet["advantage"] == 0.0).all()


def test_the_update_takes_no_shards(finished):
    run, params, resources = finished
    with pytest.raises(ValueError, match="Stage update needs all shards at once"):
        run_stage(run, STAGES["update"], 0, params, resources, shards=[0], force=True)


def test_a_reward_that_fails_stops_the_stage_with_its_name_and_prompt(finished):
    run, params, resources = finished

    class Broken:
        name = "judge_a"

        def score(self, images, texts):
            return torch.full((len(images),), float("nan"))

    resources._rewards["judge_a"] = Broken()
    with pytest.raises(FloatingPointError, match="Reward judge_a must give a finite number, got nan for"):
        run_stage(run, STAGES["score"], 0, params, resources, force=True)
    assert not (run.round_folder(0) / "score.json").exists()


def test_tables_of_another_policy_are_refused_by_the_update(finished):
    run, params, resources = finished
    folder = run.round_folder(0) / "transitions"
    rows = read_table(folder)
    moved = {name: rows[name] for name in rows.column_names if name != "next_latents"}
    transitions = TABLES["transitions"]
    wrong = arrow(transitions, moved | {"next_latents": tensor(rows, "next_latents") + 0.1})
    stamp = read_json(run.round_folder(0) / "rollout.json")["stamp"]
    write_shard(folder, 0, transitions, wrong, stamp=stamp)
    shard_path(folder, 1).unlink()
    with pytest.raises(ValueError, match=r"Rollout and update must agree on log-probabilities to 1e-05"):
        run_stage(run, STAGES["update"], 0, params, resources, force=True)


def test_metrics_tell_spread_ratio_and_cost(finished):
    metrics = round_metrics(finished[0], 0)
    assert metrics["update/ratio_mean"] == 1.0
    assert metrics["update/kl"] == 0.0
    assert metrics["advantage/zero_spread_frac"] == 0.0
    assert metrics["reward/judge_a/step_0/spread"] > 0
    assert {"reward/judge_a/granularity_2/spread", "seconds/complete", "bytes", "cpu_seconds"} <= set(metrics)
    whole = sum(read_json(finished[0].round_folder(0) / f"{s.name}.json")["evaluations"] for s in ROUND_STAGES)
    assert metrics["evaluations"] == whole


@pytest.mark.parametrize("cadence", ["iteration", "step"])
def test_updates_tell_one_row_an_optimizer_step(finished, cadence):
    run, params = finished[0], tiny_params(f"update.cadence={cadence}", "update.num_epochs=2")
    run_stage(run, STAGES["update"], 0, params, LoadedModels(params))
    updates = read_table(run.round_folder(0) / "updates").to_pandas()
    assert updates["optimizer_step"].tolist() == list(range(2 if cadence == "iteration" else 4))
    assert updates["ratio_max"][0] == updates["ratio_min"][0] == 1.0
    assert updates["ratio_max"].iloc[-1] != 1.0


def test_bfloat16_networks_keep_the_first_ratio_at_one(finished):
    run, params, resources = new_run(tiny_params("resources.dtype=bfloat16", "update.max_log_prob_gap=0.01"))
    run_round(run, params, resources)
    updates = read_table(run.round_folder(0) / "updates").to_pandas()
    assert updates["ratio_max"][0] == updates["ratio_min"][0] == 1.0
    coarse = tensor(read_table(run.round_folder(0) / "transitions"), "next_latents")
    exact = tensor(read_table(finished[0].round_folder(0) / "transitions"), "next_latents")
    assert coarse.dtype == np.float32
    assert 1e-4 < np.abs(coarse - exact).max() < 0.1


def test_another_reward_weight_leaves_the_scores_alone(finished):
    run, params, _ = finished
    changed = params.with_values({"integrate.reward_weights": {"judge_a": 2.0}})
    done = run_round(run, changed, LoadedModels(changed))
    assert [d.stage for d in done if not d.skipped] == ["integrate", "update"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_makes_the_round_of_the_cpu_to_rounding(finished):
    params = tiny_params("resources.device=cuda", "update.max_log_prob_gap=1e-4")
    run, *rest = new_run(params, device="cuda")
    run_round(run, *rest)
    ours, theirs = (read_table(r.round_folder(0) / "transitions") for r in (run, finished[0]))
    assert ours["seed"].to_pylist() == theirs["seed"].to_pylist()
    np.testing.assert_allclose(tensor(ours, "next_latents"), tensor(theirs, "next_latents"), rtol=0, atol=1e-3)
