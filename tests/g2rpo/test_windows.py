from collections import Counter

import pytest

from g2rpo.windows import drawn_steps, one_step_windows, sliding_window, trained_steps, whole_window


def place(round_number, steps=range(6), *, size=2, stride=1, interval=3, schedule="progressive", seed=0):
    (window,) = sliding_window(
        list(steps),
        size=size,
        stride=stride,
        interval=interval,
        schedule=schedule,
        round_number=round_number,
        seed=seed,
    )
    return window


def test_g2rpo_has_a_window_of_one_step_for_each_k():
    assert one_step_windows((0, 1, 5)) == ((0,), (1,), (5,))


def test_flow_grpo_and_dance_grpo_have_one_window_of_all_steps_in_the_order_of_time():
    assert whole_window((3, 0, 1)) == ((0, 1, 3),)


def test_the_window_of_mix_grpo_slides_and_rolls_back():
    # MixGRPO's code at T = 8, w = 2, s = 1, tau = 3, with roll_back: it slides over the steps 0 to T - 3 = 5. There the
    # window shrinks to (5) and to nothing before it rolls back; here it rolls back from the last whole place.
    by_hand = [(0, 1)] * 3 + [(1, 2)] * 3 + [(2, 3)] * 3 + [(3, 4)] * 3 + [(4, 5)] * 3 + [(0, 1)] * 3 + [(1, 2)]
    assert [place(number) for number in range(19)] == by_hand


def test_a_stride_skips_places_and_a_round_a_place_is_an_interval_of_one():
    # seven steps, w = 3, s = 2: places 0, 2 and 4
    assert [place(number, range(7), size=3, stride=2, interval=1) for number in range(4)] == [
        (0, 1, 2),
        (2, 3, 4),
        (4, 5, 6),
        (0, 1, 2),
    ]


def test_a_stride_that_does_not_divide_ends_at_the_last_whole_place():
    # six steps, w = 2, s = 3: places 0, 3 and, since 6 is too far, 4
    assert [place(number, stride=3, interval=1) for number in range(4)] == [(0, 1), (3, 4), (4, 5), (0, 1)]


def test_a_random_window_knows_no_stride():
    assert {place(number, stride=3, interval=1, schedule="random") for number in range(60)} == {
        (k, k + 1) for k in range(5)
    }


def test_a_window_slides_over_the_steps_that_there_are():
    assert [place(number, (1, 4, 6), interval=1) for number in range(3)] == [(1, 4), (4, 6), (1, 4)]


@pytest.mark.parametrize("schedule", ["progressive", "random"])
def test_a_window_of_all_steps_never_moves(schedule):
    assert {place(number, range(3), size=3, interval=1, schedule=schedule) for number in range(9)} == {(0, 1, 2)}


def test_the_random_window_hangs_on_seed_and_place_in_time_alone():
    drawn = [place(number, schedule="random") for number in range(60)]
    assert drawn == [place(number, schedule="random") for number in range(60)]
    assert drawn != [place(number, schedule="random", seed=1) for number in range(60)]
    assert all(drawn[number] == drawn[3 * (number // 3)] for number in range(60))  # it stays for an interval
    assert drawn != sorted(drawn)


def test_the_random_window_comes_everywhere_alike():
    # 5 places, 1000 draws: 200 each, standard deviation sqrt(1000 x .2 x .8) = 12.6
    met = Counter(place(number, interval=1, schedule="random") for number in range(1000))
    assert set(met) == {(k, k + 1) for k in range(5)}
    assert all(abs(times - 200) < 60 for times in met.values())


@pytest.mark.parametrize("size", [0, 7])
def test_a_window_larger_than_its_range_is_refused(size):
    with pytest.raises(ValueError, match=f"at least as many steps as it has, got size {size} over 6"):
        place(0, size=size)


@pytest.mark.parametrize(
    ("window", "frac", "count"),
    [
        (range(15), 0.6, 9),  # DanceGRPO's script: T = 16, int(15 x 0.6)
        (range(24), 0.6, 14),  # its paper's T = 25: int(14.4)
        (range(7), 0.6, 4),
        (range(3), 0.1, 1),  # never none
        (range(4), 1.0, 4),
        (range(100), 0.29, 29),  # 28.999999999999996 in floats
    ],
)
def test_a_share_of_the_steps_trains_the_whole_number_below_it(window, frac, count):
    trained = trained_steps(tuple(window), frac, seed=1, branch=2)
    assert len(trained) == count
    assert list(trained) == sorted(set(trained) & set(window))


def test_every_branch_and_prompt_draws_its_own_trained_steps():
    window = tuple(range(15))
    drawn = [trained_steps(window, 0.6, seed, branch) for seed in (1, 2) for branch in range(12)]
    assert len(set(drawn)) == 24
    assert drawn[5] == trained_steps(window, 0.6, 1, 5)


def test_every_step_trains_alike():
    # 9 of 15 in each of 1000 draws: 600 a step, standard deviation sqrt(1000 x .6 x .4) = 15.5
    met = Counter(step for branch in range(1000) for step in trained_steps(tuple(range(15)), 0.6, 3, branch))
    assert set(met) == set(range(15))
    assert all(abs(times - 600) < 75 for times in met.values())


def drawn(round_number, steps=(0, 1, 2, 3), *, count=2, weights=None, seed=0):
    return drawn_steps(steps, count=count, weights=weights, round_number=round_number, seed=seed)


def test_the_steps_of_a_round_are_a_draw_without_repetition_in_the_order_of_m():
    rounds = [drawn(number, steps=(3, 0, 2, 5)) for number in range(40)]
    assert all(len(set(chosen)) == 2 for chosen in rounds)
    assert all(chosen == tuple(step for step in (3, 0, 2, 5) if step in chosen) for chosen in rounds)
    assert rounds == [drawn(number, steps=(3, 0, 2, 5)) for number in range(40)]
    assert rounds != [drawn(number, steps=(3, 0, 2, 5), seed=1) for number in range(40)]
    assert len(set(rounds)) == 6  # every pair of four


def test_all_steps_are_no_draw():
    assert {drawn(number, count=4, weights=(1.0, 2.0, 3.0, 4.0)) for number in range(5)} == {(0, 1, 2, 3)}


def test_steps_are_drawn_by_their_weights():
    # one of two with weights 3 : 1, 1000 draws: 750, standard deviation 13.7
    met = Counter(drawn(number, steps=(4, 6), count=1, weights=(3.0, 1.0)) for number in range(1000))
    assert abs(met[4,] - 750) < 60


@pytest.mark.parametrize("count", [0, 5])
def test_more_steps_than_there_are_are_refused(count):
    with pytest.raises(ValueError, match=f"1 to 4 of them, got {count}"):
        drawn(0, count=count)
