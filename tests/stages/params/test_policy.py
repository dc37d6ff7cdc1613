import pytest
from refusals import of_preset, refusal


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("policy.height=100", "policy.height: input should be a multiple of 16, got 100"),
        ("policy.width=0", "policy.width: input should be greater than or equal to 16, got 0"),
        ("policy.max_sequence_length=513", "policy.max_sequence_length: input should be less than or equal to 512"),
        ("policy.guidance=three", "policy.guidance: input should be a valid number, got 'three'"),
        ("policy.negative_prompt=x", "policy.negative_prompt: unknown key"),
        ("policy.revision=main", "policy.revision: a commit of 40 hex digits is required, got 'main'"),
        ("policy.lora={rank: 0, alpha: 1, targets: [a]}", "policy.lora.rank: input should be greater than or equal"),
        ("policy.lora={rank: 1, alpha: 1, targets: []}", "policy.lora.targets: "),
        ("policy.lora={rank: 1, alpha: 1, targets: [a], dropout: 0}", "policy.lora.dropout: unknown key, got 0"),
    ],
)
def test_faults_of_flux_are_reported_with_their_key(change, message):
    with pytest.raises(ValueError, match=message):
        of_preset("tiny-flux", change)


def test_guidance_of_sd3_is_at_least_none_and_that_of_flux_may_be_absent():
    assert of_preset("tiny-sd3", "policy.guidance=1").policy.guidance == 1
    assert of_preset("tiny-flux", "policy.guidance=null").policy.guidance is None
    with pytest.raises(ValueError, match=r"policy.guidance: input should be greater than or equal to 1, got 0.5"):
        of_preset("tiny-sd3", "policy.guidance=0.5")


def test_a_family_that_is_not_known_is_refused_with_those_that_are():
    assert "policy.family: one of 'shapes', 'flux1', 'sd3' is required, got 'flux2'" in refusal("policy.family=flux2")


def test_the_shapes_world_has_no_keys_of_others():
    assert "policy.lora: unknown key" in refusal("policy.lora={rank: 1, alpha: 1, targets: [a]}")
