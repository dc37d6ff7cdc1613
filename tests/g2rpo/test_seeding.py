import pytest
import torch

from g2rpo.positions import position_seed
from g2rpo.seeding import noise


def test_noise_of_a_position_does_not_depend_on_its_batch():
    seeds = [position_seed("branch", 0, prompt, 1, 2) for prompt in range(6)]
    together = noise(seeds, (4, 3))
    apart = torch.cat([noise(seeds[4:], (4, 3)), noise(seeds[:4], (4, 3))]).roll(-2, dims=0)
    assert torch.equal(together, apart)


def test_every_part_of_a_position_changes_its_seed():
    base = ("branch", 0, 3, "train-0001-000", 2, 5, 2)
    others = [(*base[:i], "x" if isinstance(base[i], str) else base[i] + 1, *base[i + 1 :]) for i in range(len(base))]
    assert len({position_seed(*base), *(position_seed(*other) for other in others)}) == len(base) + 1


def test_parts_do_not_run_together():
    assert position_seed("a", 1, 12) != position_seed("a", 11, 2)
    assert position_seed("1") != position_seed(1)


def test_a_seed_is_the_same_on_every_machine_and_in_every_version():
    # first 63 bits of BLAKE2b-64 over "str:noise\x1fint:0", computed with b2sum -l 64
    assert position_seed("noise", 0) == SEED_OF_NOISE_0


@pytest.mark.parametrize("bit", [0, 31, 32, 47, 62])
def test_every_bit_of_a_seed_counts(bit: int):
    one, other = noise([SEED_OF_NOISE_0, SEED_OF_NOISE_0 ^ (1 << bit)], (8,))
    assert not torch.isclose(one, other).any()


def test_noise_is_what_it_was():
    """NumPy's PCG64 seeded with 7; another generator or another version of it would change every run."""
    assert noise([7], (4,)).tolist() == [[pytest.approx(value, abs=1e-6) for value in FIRST_OF_SEED_7]]


def test_noise_is_standard_normal():
    drawn = noise([position_seed("law", i) for i in range(64)], (1024,))
    assert abs(drawn.mean()) < 0.02
    assert abs(drawn.std() - 1) < 0.02


SEED_OF_NOISE_0 = int("e2b43980a6c9d728", 16) >> 1
FIRST_OF_SEED_7 = [1.5219693, -1.1441058, 1.1501616, -1.7846532]
