import pytest
import torch

from g2rpo.schedule import shifted_sigmas
from g2rpo.strides import completion_path

RULES = ("fine_first", "even", "published", "from_clean")


def test_shift_two_in_four_steps_by_hand():
    # t = 1, 3/4, 1/2, 1/4, 0 and 2 t / (1 + t) = 1, 6/7, 2/3, 2/5, 0
    expected = torch.tensor([1, 6 / 7, 2 / 3, 2 / 5, 0], dtype=torch.float64)
    torch.testing.assert_close(shifted_sigmas(4, 2.0), expected, rtol=0, atol=1e-15)


def test_no_shift_is_the_even_schedule():
    torch.testing.assert_close(shifted_sigmas(4, 1.0), torch.tensor([1, 0.75, 0.5, 0.25, 0], dtype=torch.float64))


def test_a_schedule_falls_from_one_to_zero():
    sigmas = shifted_sigmas(16, 3.0)
    assert (sigmas[0], sigmas[-1]) == (1, 0)
    assert (sigmas.diff() < 0).all()


@pytest.mark.parametrize("start", range(8))
@pytest.mark.parametrize("rule", RULES)
def test_granularity_one_visits_every_step(rule, start):
    assert completion_path(8, start, 1, rule) == tuple(range(start, 9))


@pytest.mark.parametrize(
    ("rule", "granularity", "path"),
    [
        ("fine_first", 2, (2, 3, 5, 7, 8)),
        ("even", 2, (2, 4, 6, 8)),
        ("published", 2, (2, 3, 5, 8)),
        ("from_clean", 2, (2, 4, 6, 8)),
        ("fine_first", 3, (2, 3, 6, 8)),
        ("even", 3, (2, 5, 8)),
        ("published", 3, (2, 3, 8)),
        ("from_clean", 3, (2, 5, 8)),
    ],
)
def test_paths_from_step_two_of_eight_by_hand(rule, granularity, path):
    assert completion_path(8, 2, granularity, rule) == path


@pytest.mark.parametrize("rule", RULES)
def test_every_path_ends_at_sigma_zero(rule):
    paths = [completion_path(16, start, stride, rule) for start in range(1, 17) for stride in (1, 2, 3, 5)]
    assert {path[-1] for path in paths} == {16}
    assert all(list(path) == sorted(set(path)) for path in paths)


def test_published_rule_spends_what_the_published_loop_spends():
    # T = 16, M = {0..7}: evaluations of a branch summed over k, from the authors' sigmas[k+2::lambda]
    spent = [sum(len(completion_path(16, k + 1, stride, "published")) - 1 for k in range(8)) for stride in (1, 2, 3)]
    assert spent == [92, 48, 33]


def test_a_path_that_starts_beyond_the_schedule_is_refused():
    with pytest.raises(ValueError, match="0 <= start <= 8, got 9"):
        completion_path(8, 9, 1, "even")


def test_a_stride_of_zero_is_refused():
    with pytest.raises(ValueError, match="stride of at least 1 step, got 0"):
        completion_path(8, 1, 0, "even")


@pytest.mark.parametrize(("num_steps", "shift", "message"), [(0, 1.0, "at least 1 step"), (4, 0.0, "shift > 0")])
def test_impossible_schedules_are_refused(num_steps, shift, message):
    with pytest.raises(ValueError, match=message):
        shifted_sigmas(num_steps, shift)
