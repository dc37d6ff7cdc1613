import pytest
from comparisons import table
from handmade import reward
from said import said


def test_the_signal_of_runs_is_written_by_phase(run, tmp_path):
    for number, spread in enumerate((0.2, 0.4)):
        reward(run, number, {("train-0", step, 1): (0.5 - spread, 0.5, 0.5 + spread) for step in (0, 1)})
    out = tmp_path / "signal"
    told = said("signal", "--run", run.key, "--out", out, "--phases", "2")
    assert told == f"{out}: signal.md, signal.png, signal.csv and agreement.csv of 1 runs, 12 rewards\n"
    ranges = {(row["first_round"], row["last_round"]) for row in table(out / "signal.csv")}
    assert ranges == {("0", "1"), ("0", "0"), ("1", "1")}


def test_a_run_that_is_not_there_has_no_signal(run):
    with pytest.raises(ValueError, match="A run is required whose key begins with 'abcd'"):
        said("signal", "--run", run.key, "--run", "abcd")
