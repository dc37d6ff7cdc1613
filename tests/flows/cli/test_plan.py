import json
from dataclasses import replace
from pathlib import Path

import pytest
from said import said
from tiny import TINY

from flows.cli.plan import _devices, _text
from flows.training.forecast import Forecast
from flows.training.measured_rounds import MeasuredRounds

SETS = [word for override in TINY for word in ("--set", override)]
MEASURED = MeasuredRounds(
    start_seconds=100.0,
    round_seconds=35.0,
    seconds_an_evaluation=3.15,
    output_bytes={"prompts": 500_000, "policy": 1_000_000},
    peak_bytes=2_340_000_000,
)
FOUND = Forecast(
    run_key="3fa9c1d20b7e4488",
    folder=Path("/store/runs/3fa9c1d20b7e4488"),
    device="cuda",
    num_devices=2,
    rounds_finished=2,
    rounds_to_do=10,
    changed={"run.rounds": 12, "placement.runner": "ray"},
    evaluations={"rounds": 12_000, "judging": 900, "final": 100, "best": 50},
    measured=MEASURED,
    bytes_kept=15_000_000,
)
"""100 + 10 * 35 + 1000 * 3.15 = 3600 seconds: an hour of each of two devices."""


def test_a_plan_is_told_with_what_was_measured_and_what_it_costs():
    assert _text(FOUND, 2.5).splitlines() == [
        "run          3fa9c1d20b7e4488 (/store/runs/3fa9c1d20b7e4488)",
        "rounds       2 are done, 10 to do, on 2 runners, cuda",
        "evaluations  12,000 by the rounds, 900 by the evaluations during them,",
        "             100 by the final one, 50 more if the best round is not the last",
        "seconds      3,600, 35.00 per round; measured now on this machine",
        "disk         1.5 MB per round, 15 MB in all",
        "memory       2.34 GB",
        "hours        2.000 of all devices, which cost 5.00",
        "changes to params.yaml:",
        "  run.rounds: 12",
        '  placement.runner: "ray"',
    ]


def test_without_a_price_or_a_trial_nothing_is_told_of_them():
    alone = replace(FOUND, num_devices=1, changed={})
    assert _text(alone, None).splitlines()[-2:] == [
        "hours        1.000 of the device",
        "parameters   those of params.yaml",
    ]
    assert len(_text(replace(alone, measured=None, bytes_kept=None), 2.5).splitlines()) == 5


@pytest.mark.parametrize(("num_devices", "told"), [(1, "cuda"), (2, "2 runners, cuda")])
def test_runners_are_counted_where_there_are_several(num_devices, told):
    assert _devices(replace(FOUND, num_devices=num_devices)) == told


def test_the_command_tells_a_plan_and_does_nothing_of_it(store):
    told = said("plan", "--no-measure", "--set", "run.seed=3", *SETS)
    assert "rounds       0 are done, 2 to do, on cpu\n" in told
    assert "  run.seed: 3\n" in told
    assert "seconds" not in told
    found = json.loads(said("plan", "--no-measure", "--json", "--price", "2.5", "--set", "run.seed=3", *SETS))
    assert told.startswith(f"run          {found['run_key']} ({found['folder']})\n")
    assert (found["rounds_finished"], found["rounds_to_do"], found["seconds"], found["price"]) == (0, 2, None, None)
    assert not store.exists()
