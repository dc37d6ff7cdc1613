from pathlib import Path

from stages.integrity.damage import Damage


def test_damage_is_told_by_its_file_and_what_is_the_matter():
    assert str(Damage(Path("r/HEAD"), "a number is required, got 'x'")) == "r/HEAD: a number is required, got 'x'"
