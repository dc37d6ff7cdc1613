"""Means over seeds, intervals and tests, with numbers derived by hand."""

from math import atan, isnan, pi, sqrt, tan

import pytest

from flows.compare.statistics import holm, paired, summary


def test_the_interval_of_a_mean_is_students():
    found = summary([1.0, 2.0, 3.0, 4.0])
    assert (found.n, found.mean) == (4, 2.5)
    assert found.std == pytest.approx(sqrt(5 / 3))  # squares 2.25 + .25 + .25 + 2.25, over n - 1
    half = 3.182446 * sqrt(5 / 3) / 2  # t of .975 with 3 degrees of freedom, from any table
    assert found.low == pytest.approx(2.5 - half, abs=1e-6)
    assert found.high == pytest.approx(2.5 + half, abs=1e-6)


def test_the_interval_of_two_values_is_cauchys():
    """With one degree of freedom t is Cauchy: its quantile is tan(pi (q - 1/2)), and std / sqrt(2) is half the gap."""
    found = summary([0.0, 2.0])
    assert found.high - found.mean == pytest.approx(tan(pi * 0.475))


def test_one_value_has_no_interval():
    found = summary([0.5])
    assert (found.n, found.mean) == (1, 0.5)
    assert isnan(found.std)
    assert isnan(found.low)
    assert isnan(found.high)


def test_equal_values_have_an_interval_of_no_width():
    found = summary([0.25, 0.25, 0.25])
    assert (found.mean, found.std, found.low, found.high) == (0.25, 0.0, 0.25, 0.25)


def test_a_paired_test_is_of_the_differences():
    """Differences 1, 2, 3: t = 2 / (1 / sqrt 3); with 2 degrees of freedom p = 1 - t / sqrt(t^2 + 2)."""
    found = paired([5.0, 4.0, 9.0], [4.0, 2.0, 6.0])
    t = 2 * sqrt(3)
    assert found.difference.mean == 2.0
    assert found.p == pytest.approx(1 - t / sqrt(t * t + 2))
    assert found.p == pytest.approx(0.0742, abs=1e-4)
    assert paired([4.0, 2.0, 6.0], [5.0, 4.0, 9.0]).p == found.p  # two-sided


def test_two_pairs_have_cauchys_p():
    """Differences 0 and 2: t = 1, and P(|t| > 1) = 1 - 2 atan(1) / pi = 1/2."""
    assert paired([1.0, 3.0], [1.0, 1.0]).p == pytest.approx(1 - 2 * atan(1) / pi)


def test_equal_differences_and_a_single_pair_are_no_test():
    assert isnan(paired([2.0, 3.0], [1.0, 2.0]).p)
    assert isnan(paired([1.0, 2.0], [1.0, 2.0]).p)
    assert isnan(paired([1.0], [0.0]).p)


def test_differences_that_are_equal_but_for_rounding_are_no_test():
    """Shares of 292 pictures: one picture more with each seed, as floats that differ in the last bit."""
    reference = [count / 292 for count in (7, 60, 130, 200, 280)]
    values = [count / 292 for count in (8, 61, 131, 201, 281)]
    differences = {value - other for value, other in zip(values, reference, strict=True)}
    assert len(differences) > 1  # or what follows says nothing
    assert isnan(paired(values, reference).p)
    assert paired(values, [*reference[:-1], 279 / 292]).p < 0.01  # the smallest spread that counts can have


def test_holm_multiplies_the_smallest_by_all_and_never_falls():
    """Of .01, .03, .04: 3 x .01, 2 x .03, and 1 x .04, which is held at .06."""
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])


def test_what_was_not_tested_is_not_counted():
    first, second = holm([float("nan"), 0.04])
    assert isnan(first)
    assert second == pytest.approx(0.04)
    assert all(map(isnan, holm([float("nan")] * 2)))


def test_half_an_interval_is_half_its_width():
    found = summary([0.0, 2.0])
    assert found.half == pytest.approx(tan(pi * 0.475))
    assert found.half == pytest.approx(found.high - 1.0)
