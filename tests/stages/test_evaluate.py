import shutil

import pytest
from rounds import new_run, run_round
from tiny import tiny_params

from g2rpo.shapes.captions import captions
from stages.contract.declared_stages import EVALUATE
from stages.disk.files import read_json, write_json
from stages.disk.policy_state import state_digest
from stages.disk.tables import read_table
from stages.engine.execute import execute, run_stage
from stages.engine.loaded_models import Resources
from stages.readings.metrics import evaluation_metrics
from stages.texts.held_out import held_out


def judged(run, params, resources, folder="e"):
    target = run.path / folder
    execute(EVALUATE, target, run.inputs(EVALUATE, 0), params, resources, number=0)
    return target


def test_every_reward_is_reported_for_every_prompt_and_number_of_steps(started):
    run, _, resources = started
    params = tiny_params("evaluate.num_steps=[2, 4]", "evaluate.num_noises=2")
    folder = judged(run, params, resources)
    rows = read_table(folder / "evaluations").to_pandas()
    assert len(rows) == 2 * 4 * 2 * 4  # step counts, captions, noises, rewards
    assert read_table(folder / "pictures").num_rows == 2 * 2
    means = evaluation_metrics(folder)
    assert set(means) == {f"{r}{s}" for r in params.evaluate.rewards for s in ("", "/steps_4")}
    assert means["judge_b"] == pytest.approx(rows[(rows.reward == "judge_b") & (rows.num_steps == 2)]["value"].mean())


def test_the_same_policy_is_judged_the_same_by_another_process_and_run(started):
    run, params, resources = started
    first = read_table(judged(run, params, resources) / "evaluations")
    other = tiny_params("run.seed=5")
    second = read_table(judged(run, other, Resources(other), "f") / "evaluations")
    assert first.equals(second)


def test_held_out_captions_are_of_the_split_and_spread_over_it():
    prompts = held_out(tiny_params("evaluate.num_prompts=7", "evaluate.num_noises=2"))
    texts = captions("tuning")
    assert len(set(prompts.ids)) == len(set(prompts.seeds)) == 14
    assert set(prompts.texts) <= set(texts)
    assert set(texts) & set(captions("train")) == set()
    assert texts.index(prompts.texts[6]) >= len(texts) * 6 // 7


def test_more_captions_than_the_split_has_are_refused():
    with pytest.raises(ValueError, match=r"evaluate.num_prompts: at most the \d+ captions of split tuning"):
        held_out(tiny_params("evaluate.num_prompts=100000"))


def test_the_average_of_the_weights_is_what_is_judged(store):
    run, params, resources = new_run(tiny_params("update.ema_decay=0.99", "update.learning_rate=0.01"))
    run_round(run, params, resources)
    judged = run_stage(run, EVALUATE, 1, params, resources)
    folder = run.evaluation_folder(1, "tuning")
    field = resources.field(run.policy_folder(1), 96, averaged=True)
    weights = {name: p.clone() for name, p in field.policy.module.named_parameters()}
    trained = resources.policy(run.policy_folder(1)).module.state_dict()
    assert any(not weights[name].equal(trained[name]) for name in weights)
    resources.policy(run.policy_folder(1), averaged=True)
    before = read_table(folder / "evaluations")
    policy = run.policy_folder(1)
    shutil.copyfile(policy / "weights.safetensors", policy / "average.safetensors")
    state = read_json(policy / "state.json")
    state["files"]["average.safetensors"] = state["files"]["weights.safetensors"]
    state["digest"] = state_digest(state["num_steps"], state["files"])
    write_json(policy / "state.json", state)
    again = run_stage(run, EVALUATE, 1, params, Resources(params), force=True)
    assert judged.manifest["outputs"]["pictures"]["digest"] != again.manifest["outputs"]["pictures"]["digest"]
    assert not before.equals(read_table(folder / "evaluations"))


def test_fewer_numbers_of_steps_leave_no_old_shard_behind(started):
    run, _, resources = started
    for steps in ("[2, 4]", "[4]"):
        params = tiny_params(f"evaluate.num_steps={steps}")
        folder = judged(run, params, resources)
    assert set(read_table(folder / "evaluations")["num_steps"].to_pylist()) == {4}
    assert read_table(folder / "pictures").num_rows == 2
