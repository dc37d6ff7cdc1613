import pytest
from tiny import tiny_params

from g2rpo.shapes.captions import captions
from stages.evaluate import held_out
from stages.execute import execute
from stages.metrics import evaluation_metrics
from stages.registry import EVALUATE
from stages.resources import Resources
from stages.tables import read_table


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
    prompts = held_out(tiny_params("evaluate.num_prompts=7", "evaluate.num_noises=2").evaluate)
    texts = captions("tuning")
    assert len(set(prompts.ids)) == len(set(prompts.seeds)) == 14
    assert set(prompts.texts) <= set(texts)
    assert set(texts) & set(captions("train")) == set()
    assert texts.index(prompts.texts[6]) >= len(texts) * 6 // 7


def test_more_captions_than_the_split_has_are_refused():
    with pytest.raises(ValueError, match=r"evaluate.num_prompts: at most the \d+ captions of split tuning"):
        held_out(tiny_params("evaluate.num_prompts=100000").evaluate)
