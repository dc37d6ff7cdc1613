import shutil

import pytest
from tiny import tables

from flows.training.one_round import run_in_folder
from g2rpo.shapes.shipped import shipped_base
from stages.contract.declared_stages import ROUND_STAGES


def within(folder, made, number, *stages, policy=None):
    return [run_in_folder(name, folder, number, policy, made.params) for name in stages]


def of_run(made, number, *names):
    """The tables of a round of the run, by the names that they have in its folder."""
    return {path: content for path, content in tables(made.run.round_folder(number)).items() if path.startswith(names)}


def of_folder(folder):
    """The tables of a round in a folder, by the names that they have in a run: without their stage's."""
    return {path.split("/", 1)[1]: content for path, content in tables(folder).items()}


@pytest.mark.usefixtures("own_store")
def test_six_stages_in_a_folder_make_the_first_round_of_a_run(made, tmp_path):
    told = within(tmp_path / "round", made, 0, *[stage.name for stage in ROUND_STAGES])
    assert [line.split(" done in ")[0] for line in told] == [f"{stage.name} of round 0" for stage in ROUND_STAGES]
    assert of_folder(tmp_path / "round") == of_run(made, 0, "")
    assert within(tmp_path / "round", made, 0, "integrate")[0].startswith("integrate of round 0 was done already: adv")


@pytest.mark.usefixtures("own_store")
def test_a_round_begins_with_a_stored_policy(made, tmp_path):
    within(tmp_path / "round", made, 1, "prompts", "rollout", policy=made.run.policy_folder(1))
    assert of_folder(tmp_path / "round") == of_run(made, 1, "prompts", "anchors", "transitions")


@pytest.mark.usefixtures("own_store")
def test_the_bases_own_weights_are_the_base(made, tmp_path):
    shutil.copytree(shipped_base(), tmp_path / "weights")
    within(tmp_path / "round", made, 0, "prompts", "rollout", policy=tmp_path / "weights")
    assert of_folder(tmp_path / "round") == of_run(made, 0, "prompts", "anchors", "transitions")


@pytest.mark.usefixtures("own_store")
@pytest.mark.parametrize("other", ["nothing", "other weights"])
def test_a_folder_that_is_neither_a_policy_nor_the_base_is_refused(made, tmp_path, other):
    folder = tmp_path / "weights"
    if other == "nothing":
        folder.mkdir()
    else:
        shutil.copytree(shipped_base(), folder)
        words = folder / "words.safetensors"
        words.write_bytes(words.read_bytes()[:-1] + b"\0")
    with pytest.raises(ValueError, match=rf"--policy: a stored policy .* got {folder}, which is neither. Set policy"):
        within(tmp_path / "round", made, 0, "rollout", policy=folder)


def test_a_stage_of_no_round_is_refused(made, tmp_path):
    with pytest.raises(ValueError, match="A stage of a round is one of prompts, .*, update, got 'evaluate'"):
        within(tmp_path, made, 0, "evaluate")


@pytest.mark.usefixtures("own_store")
def test_a_stage_whose_input_is_missing_is_refused_with_the_stage_that_makes_it(made, tmp_path):
    with pytest.raises(ValueError, match="reads the table prompts, got no finished one in .*Run stage prompts of this"):
        within(tmp_path, made, 0, "rollout")
