import pytest

from g2rpo.learning_rate import scheduled


def over_rounds(count, **how):
    plain = {"warmup_rounds": 0, "decay_rounds": None, "final_frac": 0.0}
    return [scheduled(1.0, number, **plain | how) for number in range(count)]


def test_it_rises_over_two_rounds_falls_over_four_and_stays():
    # rises by halves; the second round has all of it; then a quarter less each round
    expected = [0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0, 0.0]
    assert over_rounds(9, warmup_rounds=2, decay_rounds=4) == pytest.approx(expected)


def test_without_rise_and_fall_it_is_constant():
    assert over_rounds(50) == [1.0] * 50


def test_it_falls_to_the_share_that_is_left():
    # to a tenth over three rounds: 0.3 less each round
    expected = [1.0, 0.7, 0.4, 0.1, 0.1, 0.1]
    assert over_rounds(6, decay_rounds=3, final_frac=0.1) == pytest.approx(expected)


def test_a_share_of_one_never_falls():
    assert over_rounds(6, decay_rounds=2, final_frac=1.0) == [1.0] * 6


def test_it_is_a_factor_of_the_highest():
    assert scheduled(2e-6, 0, warmup_rounds=4, decay_rounds=None, final_frac=0.0) == pytest.approx(5e-7)
    assert scheduled(2e-6, 5, warmup_rounds=0, decay_rounds=10, final_frac=0.2) == pytest.approx(1.2e-6)
