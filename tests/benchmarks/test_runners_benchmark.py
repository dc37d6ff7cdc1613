import pytest
import ray
from benchmark_output import last_line_of
from runners import PAINTING, main


@pytest.mark.slow
def test_the_sides_take_turns_and_every_ratio_is_told(monkeypatch):
    monkeypatch.setenv("G2RPO_HOME", "set back at the end")
    try:
        last = last_line_of(main, "--prompts", "4", "--turns", "1", "--rounds", "1")
    finally:
        ray.shutdown()
    assert last["seconds"].keys() == {"here", "one", "two", "two, in order"}
    assert all(seconds[name] > 0 for seconds in last["seconds"].values() for name in PAINTING)
    whole = {side: sum(seconds.values()) for side, seconds in last["seconds"].items()}
    assert last["one_over_two"] == pytest.approx(whole["one"] / whole["two"], rel=0.02)
    assert last["round_seconds"].keys() == {"two", "two, by copies", "one paints ahead"}
    assert min(last["round_seconds"].values()) > 0
