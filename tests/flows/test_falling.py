"""A trained reward that falls is told, once, with a remedy."""

import pytest

from flows.falling import FallingObserver, fallen


def rounds(*means, spread=(0.01, 0.03)):
    """Metrics of rounds whose reward has these means, and at two granularities these spreads."""
    fine, coarse = spread
    return [
        {
            "reward/clean/mean": mean,
            "reward/clean/granularity_1/spread": fine,
            "reward/clean/granularity_2/spread": coarse,
            "reward/clean/step_0/spread": 9.0,
        }
        for mean in means
    ]


class Stored:
    def __init__(self, history):
        self._history = history

    def metrics(self):
        return self._history


def watched(history, number_stored):
    observer = FallingObserver()
    observer.watch(Stored(history[:number_stored]), len(history))
    for number, metrics in enumerate(history[number_stored:], start=number_stored):
        observer.round_finished(number, metrics)


def test_the_fall_is_counted_in_spreads_by_hand():
    # from 0.5 to 0.4 at a spread of (0.01 + 0.03) / 2 = 0.02; the rounds between do not count
    history = rounds(*[0.5] * 10, *[7.0] * 5, *[0.4] * 10)
    assert fallen(history, "clean") == pytest.approx(5.0)
    assert fallen(rounds(*[0.4] * 10, *[0.5] * 10), "clean") == pytest.approx(-5.0)


def test_too_few_rounds_or_no_spread_tell_nothing():
    assert fallen(rounds(*[0.5] * 10, *[0.1] * 9), "clean") == 0.0
    assert fallen(rounds(*[0.5] * 10, *[0.1] * 10, spread=(0.0, 0.0)), "clean") == 0.0


@pytest.mark.parametrize("stored", [0, 15, 28])
def test_a_trained_reward_that_falls_is_told_once_with_remedies(capsys, stored):
    # the mean of ten passes 0.5 - 5 * 0.02 at the fourth round of 0.2: (6 * 0.5 + 4 * 0.2) / 10 = 0.38
    watched(rounds(*[0.5] * 20, *[0.2] * 10), stored)
    told = capsys.readouterr().err
    assert told.count("warning: clean is trained on and has fallen by") == 1
    assert "integrate.reward_weights" in told
    assert "by 6.0 times" in told or stored == 28


def test_a_reward_that_rises_or_falls_a_little_is_not_told(capsys):
    watched(rounds(*[0.5] * 10, *[0.42] * 10, *[0.6] * 10), 0)
    assert capsys.readouterr().err == ""
