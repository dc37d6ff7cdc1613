import pytest

from stages.disk.files import value_digest, write_json
from stages.disk.policy_state import PolicyState, missing_files, policy_state, state_digest, write_base

FILES = {"weights.safetensors": "1" * 64, "average.safetensors": "2" * 64}


def stored(folder, **changed):
    digest = value_digest({"num_steps": 3, "files": FILES})
    write_json(folder / "state.json", {"digest": digest, "num_steps": 3, "files": FILES} | changed)


def test_the_base_is_its_digest_and_no_step(tmp_path):
    write_base(tmp_path / "base", "9b")
    state = policy_state(tmp_path / "base")
    assert state == PolicyState("9b", 0, {})
    assert (state.is_base, state.has_average) == (True, False)
    assert missing_files(tmp_path / "base") == []


def test_a_trained_policy_has_files_steps_and_perhaps_an_average(tmp_path):
    stored(tmp_path)
    state = policy_state(tmp_path)
    assert (state.num_steps, state.files, state.digest) == (3, FILES, state_digest(3, FILES))
    assert (state.is_base, state.has_average) == (False, True)
    assert not PolicyState("9b", 1, {"weights.safetensors": "1"}).has_average


def test_the_digest_depends_on_steps_and_files():
    assert len({state_digest(3, FILES), state_digest(4, FILES), state_digest(3, {"weights.safetensors": "1"})}) == 3
    assert len(state_digest(3, FILES)) == 64


def test_files_that_are_gone_are_named(tmp_path):
    stored(tmp_path)
    (tmp_path / "average.safetensors").touch()
    assert missing_files(tmp_path) == ["weights.safetensors"]
    (tmp_path / "state.json").unlink()
    assert missing_files(tmp_path) == ["state.json"]


def test_a_folder_without_a_policy_is_refused_with_the_stage_that_makes_one(tmp_path):
    with pytest.raises(ValueError, match=rf"A policy is required, got no state\.json in {tmp_path}. Run the round's"):
        policy_state(tmp_path)


@pytest.mark.parametrize(
    "changed", [{"num_steps": 4}, {"digest": "0"}, {"files": {"weights.safetensors": "9" * 64}}, {"more": 1}]
)
def test_an_edited_state_is_refused_with_a_remedy(tmp_path, changed):
    stored(tmp_path, **changed)
    with pytest.raises(ValueError, match=r"state\.json must be as it .* damaged or edited file. Run `g2rpo repair"):
        policy_state(tmp_path)


def test_a_damaged_state_is_refused(tmp_path):
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(ValueError, match="got a damaged or edited file"):
        policy_state(tmp_path)
