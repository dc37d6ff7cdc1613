"""The properties of a family that need no loading."""

import subprocess
import sys

import pytest

from g2rpo.policies.families import FAMILIES
from g2rpo.rewards.shapes import REWARDS
from g2rpo.shapes.captions import captions


@pytest.mark.parametrize(
    ("family", "settings", "rows"),
    [
        ("sd3", {"guidance": 4.5}, 2),  # with and without the prompt
        ("sd3", {"guidance": 1.0}, 1),
        ("flux1", {"guidance": 3.5}, 1),  # the model is told its guidance
        ("shapes", {}, 1),
    ],
)
def test_a_family_knows_how_many_rows_a_velocity_takes(family, settings, rows):
    assert FAMILIES[family].num_forwards(settings) == rows


def test_the_shapes_world_brings_its_base_its_captions_and_its_rewards():
    world = FAMILIES["shapes"].world
    assert (world.base / "transformer/config.json").is_file()
    assert world.captions("test") == captions("test")
    assert tuple(world.rewards) == REWARDS
    assert {name for name, weights in world.rewards.items() if weights and weights.is_file()} == {"judge_a", "judge_b"}
    with pytest.raises(ValueError, match="dragon"):
        world.read(["a red dragon"])


def test_the_others_bring_nothing():
    assert [name for name, family in FAMILIES.items() if family.world] == ["shapes"]


def test_it_is_known_without_torch():
    code = "import sys, g2rpo.policies.families; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
