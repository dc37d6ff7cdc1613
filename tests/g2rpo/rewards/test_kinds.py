"""A reward by its kind, or by the world that brings it along."""

import pytest
import torch

from g2rpo.rewards.kinds import load, load_of_world
from g2rpo.rewards.shapes import REWARDS

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", REWARDS)
def test_a_world_has_its_rewards_by_name(name):
    assert load_of_world("shapes", name, CPU).name == name


def test_a_reward_has_the_name_and_the_settings_that_it_is_given():
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    rough, fine = (load("jpeg", "size", CPU, quality=quality) for quality in (5, 95))
    assert rough.name == fine.name == "size"
    assert rough.score(picture, [""]) > fine.score(picture, [""])
