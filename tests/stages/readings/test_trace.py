import pytest

from stages.disk.tables import read_table
from stages.readings.trace import trace_prompt


def test_a_trace_holds_the_numbers_of_the_tables(finished):
    run = finished[0]
    run.finish_round(0)
    folder = run.round_folder(0)
    name = read_table(folder / "prompts")["prompt_id"][0].as_py()
    told = trace_prompt(run, 0, name)
    rewards = read_table(folder / "rewards").to_pandas()
    advantages = read_table(folder / "advantages").to_pandas()
    for value in rewards[rewards.prompt_id == name]["value"]:
        assert f"{value:.4f}" in told
    for value in advantages[advantages.prompt_id == name]["advantage"]:
        assert f"advantage {value:+.3f}" in told
    for value in read_table(folder / "transitions").to_pandas().query("prompt_id == @name")["seed"]:
        assert f"seed {value}" in told
    assert "step 0: sigma 1.0000 -> 0.8571" in told
    assert "optimizer step 0: loss" in told


def test_a_prompt_that_the_round_does_not_paint_is_refused_with_those_it_does(finished):
    run = finished[0]
    with pytest.raises(ValueError, match=r"A finished round is required, got 0; run \w+ has finished 0"):
        trace_prompt(run, 0, "train-x")
    run.finish_round(0)
    with pytest.raises(ValueError, match=r"Round 0 paints the prompts train-.*, got 'train-x'"):
        trace_prompt(run, 0, "train-x")
