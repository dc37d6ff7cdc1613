import pytest
from benchmark_output import last_line_of
from reward_server import main


@pytest.mark.slow
def test_few_and_many_clients_are_answered_and_every_ratio_is_told():
    last = last_line_of(main, "--clients", "6", "--seconds", "2")
    sides, rate = last["sides"], {name: side["pictures_per_second"] for name, side in last["sides"].items()}
    assert all(side["answered"] > 0 for side in sides.values())
    assert sides["many"]["gone"] == 0
    few = (rate["few"] + rate["few, between"]) / 2
    assert last["many_over_few"] == pytest.approx(rate["many"] / few, abs=0.001)
    few = (rate["few, between"] + rate["few, after"]) / 2
    assert last["impatient_over_few"] == pytest.approx(rate["half of many impatient"] / few, abs=0.001)
    assert last["impatient_over_many"] == pytest.approx(rate["half of many impatient"] / rate["many"], abs=0.001)
    assert 0 < last["longest_wait"] == pytest.approx(sides["many"]["longest_wait"], abs=0.01)
    assert last["memory_at_end_over_start"] > 0
