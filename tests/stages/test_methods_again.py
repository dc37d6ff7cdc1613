"""Every method's rounds made again: in parts, in another process, in other batches; and read as text."""

import re
import shutil

import numpy as np
import pytest
from damage import linked_copy
from methods import METHODS
from rounds import new_run, run_round
from tiny import tables, tiny_params

from stages.contract.declared_stages import STAGES
from stages.disk.tables import read_table, tensor
from stages.engine.execute import run_stage
from stages.engine.loaded_models import LoadedModels
from stages.readings.metrics import round_metrics
from stages.readings.trace import trace_prompt
from stages.store.run import Run

pytestmark = pytest.mark.long

IN_PARTS = ("update.decay_rounds=3", "update.num_minibatches=2")


@pytest.mark.parametrize("method", METHODS)
def test_running_a_round_again_gives_the_same_bytes(of_method, method):
    run, params, resources = of_method(method)
    before = tables(run.path)
    assert not any(done.skipped for done in run_round(run, params, resources, 0, force=True))
    assert tables(run.path) == before


@pytest.mark.parametrize(("method", "how"), [("mix_grpo", ()), ("flow_grpo", IN_PARTS), ("dance_grpo", ())])
def test_a_process_that_resumes_makes_what_one_process_makes(of_method, tmp_path, method, how):
    straight, params, _ = of_method(method, *how)
    run = Run(linked_copy(straight.path, tmp_path / "again"))
    shutil.rmtree(run.round_folder(1))
    run_round(run, params, LoadedModels(params), 1)
    assert tables(run.path) == tables(straight.path)


@pytest.mark.parametrize("method", METHODS)
def test_shards_and_micro_batches_change_no_noise_and_results_to_rounding(of_method, method):
    run, params, resources = new_run(tiny_params(*METHODS[method], "prompts.shard_size=1", "rollout.micro_batch=5"))
    run_round(run, params, resources)
    ours, theirs = (one.round_folder(0) for one in (run, of_method(method)[0]))
    for name, column in (("anchors", "latents"), ("transitions", "next_latents"), ("completions", "latents")):
        actual, expected = (in_order(read_table(folder / name)) for folder in (ours, theirs))
        assert actual.column_names == expected.column_names
        if name == "transitions":
            assert actual["seed"].to_pylist() == expected["seed"].to_pylist()
        np.testing.assert_allclose(tensor(actual, column), tensor(expected, column), rtol=0, atol=2e-5)
    trained = [in_order(read_table(folder / "old_log_probs")) for folder in (ours, theirs)]
    assert len({tuple(map(str, rows.drop_columns("log_prob_old").to_pylist())) for rows in trained}) == 1


def in_order(rows):
    """Rows by their keys, whatever the shards that they came from."""
    names = [name for name in ("prompt_id", "window", "origin", "branch", "step") if name in rows.column_names]
    return rows.sort_by([(name, "ascending") for name in names])


@pytest.mark.parametrize("method", METHODS)
def test_another_seed_is_other_noise_everywhere(of_method, method):
    run, params, resources = new_run(tiny_params(*METHODS[method], "run.seed=1"))
    for name in ("prompts", "rollout"):
        run_stage(run, STAGES[name], 0, params, resources)
    ours, theirs = (read_table(one.round_folder(0) / "transitions") for one in (of_method(method)[0], run))
    assert not set(ours["seed"].to_pylist()) & set(theirs["seed"].to_pylist())


def test_the_learning_rate_follows_its_schedule_over_the_rounds():
    # warmup of two rounds: a half, then all; then down by a third each round
    how = ("update.learning_rate=1e-4", "update.warmup_rounds=2", "update.decay_rounds=3", "update.final_frac=0.0")
    run, params, resources = new_run(tiny_params(*how, "prompts.num_prompts=1", "complete.granularities=[1]"))
    rates = []
    for number in range(4):
        run_round(run, params, resources, number)
        rates += read_table(run.round_folder(number) / "updates")["learning_rate"].to_pylist()
    assert rates == pytest.approx([0.5e-4, 1e-4, 1e-4, 1e-4 * 2 / 3])
    assert round_metrics(run, 0)["update/learning_rate"] == pytest.approx(0.5e-4)


def test_the_learning_rate_of_the_round_is_the_one_that_is_applied(finished):
    run = finished[0]
    weights = []
    for how in (
        ("update.learning_rate=1e-4", "update.warmup_rounds=2"),
        ("update.learning_rate=5e-5", "update.warmup_rounds=0"),
    ):
        params = tiny_params("update.decay_rounds=null", *how)
        run_stage(run, STAGES["update"], 0, params, LoadedModels(params))
        weights.append((run.policy_folder(1) / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_minibatches_are_optimizer_steps_of_whole_prompts(of_method):
    run = of_method("flow_grpo", *IN_PARTS)[0]
    updates = read_table(run.round_folder(1) / "updates").to_pandas()
    assert updates["optimizer_step"].tolist() == [2, 3]
    assert updates["ratio_min"][0] == updates["ratio_max"][0] == 1.0
    assert updates["ratio_max"][1] != 1.0
    assert updates["log_prob_gap"].max() < 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_a_trace_tells_every_step_of_every_branch(of_method, method):
    run = of_method(method)[0]
    folder = run.round_folder(1)
    name = read_table(folder / "prompts")["prompt_id"][1].as_py()
    text = trace_prompt(run, 1, name)
    transitions = read_table(folder / "transitions").to_pandas().query("prompt_id == @name")
    trained = read_table(folder / "old_log_probs").to_pandas().query("prompt_id == @name")
    old = {(row.window, row.branch, row.step): row.log_prob_old for row in trained.itertuples()}
    for row in transitions.itertuples():
        fixed = old.get((row.window, row.branch, row.step))
        known = "not trained" if fixed is None else f"old {fixed:.6f}"
        assert f"step {row.step}: log-prob {row.log_prob:.6f}, {known}; seed {row.seed}" in text
    advantages = read_table(folder / "advantages").to_pandas().query("prompt_id == @name")
    for value in advantages["advantage"]:
        assert f"advantage {value:+.3f}" in text
    heads = {
        "g2rpo": [f"branches of step {k}: 3, completed with {3 * (5 - k)} evaluations" for k in range(4)],
        "mix_grpo": ["branches of steps 2, 3: 3, completed with 6 evaluations"],
        "flow_grpo": ["branches of steps 0, 1, 2, 3, 4: 3, completed with 3 evaluations"],
        "dance_grpo": ["branches of steps 0, 1, 2, 3, 4: 3, completed with 3 evaluations"],
    }[method]
    assert re.findall(r"branches of .*", text) == heads
    assert ("none: each branch starts from its own noise" in text) == (method == "flow_grpo")
    assert ("step 0: sigma 1.0000 -> 0.9091" in text) == (method != "flow_grpo")
    assert text.count("not trained") == (2 * 3 if method == "dance_grpo" else 0)


@pytest.mark.parametrize("method", METHODS)
def test_metrics_name_the_window_by_its_first_step(of_method, method):
    parts = [part for key in round_metrics(of_method(method)[0], 1) for part in key.split("/")]
    windows = {part for part in parts if part.startswith("step_")}
    first = {"g2rpo": range(4), "mix_grpo": [2], "flow_grpo": [0], "dance_grpo": [0]}[method]
    assert windows == {f"step_{k}" for k in first}
