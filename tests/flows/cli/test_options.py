import re
from pathlib import Path

import pytest
from tiny import ROOT

from flows.cli.options import checked, params_for


@pytest.fixture
def preset(tmp_path):
    path = tmp_path / "preset.yaml"
    path.write_text(f"extends: {ROOT / 'params.yaml'}\nrun:\n  rounds: 7\n")
    return path


def test_parameters_are_those_of_the_file_with_the_overrides_over_them(preset):
    assert checked(preset, None).run.rounds == 7
    assert checked(preset, ["run.rounds=3", "run.seed=5"]).run.model_dump() == {"seed": 5, "rounds": 3}


def test_a_parameter_out_of_range_is_refused_in_the_words_of_the_file(preset):
    with pytest.raises(ValueError, match=re.escape("run.rounds: input should be greater than or equal to 1, got 0")):
        checked(preset, ["run.rounds=0"])


def test_a_file_that_is_named_is_taken_and_not_the_runs(run, preset):
    assert params_for(run.key, preset, ["run.seed=5"]).run.model_dump() == {"seed": 5, "rounds": 7}
    assert params_for("of no run", preset, None).run.rounds == 7


def test_without_a_file_they_are_the_runs_own_with_the_prompts_that_it_keeps(run):
    chosen = params_for(run.key[:8], None, ["evaluate.num_prompts=2"])
    assert chosen.evaluate.num_prompts == 2
    assert Path(chosen.prompts.path) == run.prompts
    unchanged = {"evaluate": run.params().evaluate}
    assert chosen.model_copy(update=unchanged) == run.params()
    elsewhere = params_for(run.key, None, ["prompts.path=/other"])
    assert str(elsewhere.prompts.path) == "/other"


def test_a_run_whose_parameters_are_damaged_does_not_choose(run):
    (run.path / "params.yaml").unlink()
    with pytest.raises(
        ValueError, match="Run `g2rpo train --params FILE` with the run's parameters: it repairs the run"
    ):
        params_for(run.key, None, None)
