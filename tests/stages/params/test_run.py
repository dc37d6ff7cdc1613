import pytest
from refusals import refusal, shipped


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_a_seed_is_any_whole_number_that_63_bits_hold(seed):
    assert shipped(f"run.seed={seed}").run.seed == seed


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("run.seed=-1", "run.seed: input should be greater than or equal to 0, got -1"),
        (f"run.seed={2**63}", "run.seed: input should be less than 9223372036854775808"),
        ("run.seed=0.5", "run.seed: input should be a valid integer, got 0.5"),
        ("run.rounds=0", "run.rounds: input should be greater than or equal to 1, got 0. Change it"),
        ("run.rounds=ten", "run.rounds: input should be a valid integer, got 'ten'"),
    ],
)
def test_bad_values_are_refused(override, message):
    assert message in refusal(override)
