import pytest
from benchmark_output import last_line_of
from scaling import main
from tiny import ROOT


def scaled(*words):
    return last_line_of(main, *words)["rounds"]


def test_the_documentation_shows_what_the_command_prints():
    page = (ROOT / "docs/performance.md").read_text()
    for row in scaled():
        gpus, prompts, evaluations, *seconds, efficiency = row.values()
        shown = " | ".join(f"{value:.1f}" for value in seconds)
        assert f"| {gpus} | {prompts} | {evaluations:,} | {shown} | {efficiency:.2f} |" in page


def test_seconds_are_those_worked_out_by_hand():
    """12 bytes of weights and moments for each of 11.9e9 parameters, at 2e9 a second; a GPU of half the rate."""
    eight, sixteen, idle, many = scaled("--shard", "0")
    assert eight["storing"] == pytest.approx(71.4)
    assert eight["painting"] == pytest.approx(2 * sixteen["painting"], abs=0.2)
    assert idle["painting"] == sixteen["painting"], "a shard is a prompt, and there are 16"
    assert many["evaluations"] == pytest.approx(4 * sixteen["evaluations"], abs=100)
    slow = scaled("--shard", "0", "--operations", str(385e12 / 2))
    assert slow[0]["painting"] == pytest.approx(2 * eight["painting"], abs=0.2)
