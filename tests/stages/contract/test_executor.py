from stages.contract.executor import Spent


def test_processes_together_take_the_sum_of_their_seconds_and_the_memory_of_the_largest():
    assert Spent.together([Spent(1.5, 100), Spent(2.0, 300), Spent(0.25, 200)]) == Spent(3.75, 300)


def test_nobody_takes_nothing():
    assert Spent.together([]) == Spent(0, 0)
