from stages.contract.executor import Usage


def test_processes_together_take_the_sum_of_their_seconds_and_the_memory_of_the_largest():
    assert Usage.together([Usage(1.5, 100), Usage(2.0, 300), Usage(0.25, 200)]) == Usage(3.75, 300)


def test_nobody_takes_nothing():
    assert Usage.together([]) == Usage(0, 0)
