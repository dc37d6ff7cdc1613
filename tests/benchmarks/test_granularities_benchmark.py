import pandas as pd
import pytest
from benchmark_output import last_line_of
from granularities import main

TINY = ["--sets", "1,2", "--num-steps", "4", "--prompts", "2", "--group-size", "2", "--turns", "2"]


@pytest.fixture(scope="module")
def costs(tmp_path_factory):
    table = tmp_path_factory.mktemp("costs") / "costs.csv"
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("G2RPO_HOME", "set back at the end")
        last = last_line_of(main, *TINY, "--csv", str(table))
    assert pd.read_csv(table).to_dict("records") == last["costs"]
    return {(cost["rule"], cost["granularities"]): cost for cost in last["costs"]}


@pytest.mark.slow
def test_the_costs_are_those_that_paths_cut_by_hand_have(costs):
    """T = 4, M = {0, 1}, G = 2: an anchor of 2; from 1 the levels 1 2 3 and from 2 the levels 2 3 for each branch.

    Granularity 2 goes by fine_first 1 2 4 and 2 3 4, which is nothing new; by even 1 3 4 and 2 4, which is a node.
    """
    alone, paid_twice = 2 + 2 * (3 + 2), 2 + 2 * (3 + 1 + 2)
    evaluations = {key: cost["evaluations"] for key, cost in costs.items()}
    assert evaluations == {
        ("fine_first", "1"): alone,
        ("fine_first", "1,2"): alone,
        ("even", "1"): alone,
        ("even", "1,2"): paid_twice,
    }
    assert costs["even", "1,2"]["over_finest"] == pytest.approx(paid_twice / alone, abs=1e-3)
    assert {cost["pictures"] for (_, sets), cost in costs.items() if sets == "1,2"} == {2 * 2 * 2}


@pytest.mark.slow
def test_each_picture_is_kept_once_and_memory_is_counted_beside_the_weights(costs):
    picture = 16 * 48 * 4  # latents of the shapes world, fp32
    more = costs["even", "1,2"]["completions_bytes"] - costs["even", "1"]["completions_bytes"]
    assert 4 * picture <= more < 1.2 * 4 * picture
    for cost in costs.values():
        assert 2 * 4 * picture < cost["peak_tensor_bytes"] < 2e6, "the weights are 4 MB"
        assert cost["cpu_seconds_least"] <= cost["cpu_seconds"] <= cost["cpu_seconds_most"]
        assert cost["cpu_over_finest"] > 0
    again = [costs[rule, "1"]["peak_tensor_bytes"] for rule in ("fine_first", "even")]
    assert again[0] == again[1], "the same work has the same peak"
