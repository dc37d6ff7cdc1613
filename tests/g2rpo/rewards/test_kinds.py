"""A reward by its kind, or by the world that brings it along."""

import pytest
import torch

from g2rpo.rewards.kinds import load, load_of_world
from g2rpo.rewards.shapes import REWARDS

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", REWARDS)
def test_a_world_has_its_rewards_by_name(name):
    assert load_of_world("shapes", name, CPU).name == name


def test_what_no_parameters_can_ask_for_is_told():
    with pytest.raises(AssertionError, match="no reward of the kind beauty"):
        load("beauty", "mine", CPU)
    with pytest.raises(AssertionError, match="The family flux1 includes no rewards"):
        load_of_world("flux1", "judge_a", CPU)


def test_a_reward_has_the_name_and_the_settings_that_it_is_given():
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    rough, fine = (load("jpeg", "size", CPU, quality=quality) for quality in (5, 95))
    assert rough.name == fine.name == "size"
    assert rough.score(picture, [""]) > fine.score(picture, [""])


def test_hps_is_scored_in_this_process_where_clip_is_set_and_else_by_the_package(tmp_path):
    (tmp_path / "package").mkdir()
    weights, package = {"weights": tmp_path / "hps.pt"}, str(tmp_path / "package")
    with pytest.raises(ValueError, match="The backend hpsv2 of mine needs the folder of the package"):
        load("hps", "mine", CPU, backend="hpsv2", clip=None, folder=package, **weights)
    with pytest.raises(ValueError, match=r"config\.json"):
        load("hps", "mine", CPU, backend="clip", clip=tmp_path, folder=None, **weights)
