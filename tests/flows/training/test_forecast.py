"""What is left to do of a run, told before it begins and on its way; the run that was made is the judge."""

from dataclasses import replace
from pathlib import Path

import pytest
from tiny import tiny_params

from flows.training import forecast
from flows.training.forecast import Forecast, forecast_run
from flows.training.measured_rounds import MeasuredRounds
from stages.disk.files import write_text
from stages.params.file import written

MEASURED = MeasuredRounds(
    start_seconds=100.0,
    round_seconds=10.0,
    seconds_an_evaluation=0.5,
    output_bytes={"anchors": 3, "rewards": 4},
    peak_bytes=99,
)
FORECAST = Forecast(
    run_key="k",
    folder=Path("runs/k"),
    device="cpu",
    num_devices=2,
    rounds_finished=1,
    rounds_to_do=4,
    changed={"run.seed": 1},
    evaluations={"rounds": 1000, "judging": 60, "final": 40, "best": 20},
    measured=MEASURED,
    bytes_kept=70,
)


def test_the_seconds_left_are_those_of_start_rounds_and_judging():
    """100 s to start, 4 rounds of 10 s, 60 + 40 evaluations of 0.5 s."""
    assert FORECAST.seconds == 190.0
    assert replace(FORECAST, measured=None).seconds is None


def test_its_values_tell_hours_of_all_devices_and_their_price():
    """190 s on two devices: 380 s = 0.1056 hours, at 36 an hour 3.80."""
    told = FORECAST.values(36.0)
    assert (told["seconds"], told["device_hours"], told["price"]) == (190.0, 0.1056, 3.8)
    assert (told["round_bytes"], told["run_bytes"], told["peak_bytes"]) == (7, 70, 99)
    assert (told["run_key"], told["folder"], told["changed"]) == ("k", "runs/k", {"run.seed": 1})
    assert FORECAST.values(None)["price"] is None


def test_without_a_trial_its_values_are_counts_alone():
    told = replace(FORECAST, measured=None, bytes_kept=None).values(36.0)
    measured = ("round_bytes", "run_bytes", "peak_bytes", "round_seconds", "seconds", "device_hours", "price")
    assert {told[name] for name in measured} == {None}
    assert told["evaluations"]["rounds"] == 1000


def test_before_a_run_begins_all_of_it_is_told_and_nothing_is_stored(made, own_store):
    """Evaluated are base and last: 4 prompts of 4 steps each, 16 evaluations a judging."""
    told = forecast_run(made.params, measure=False)
    assert (told.run_key, told.folder) == (made.run.key, own_store / "runs" / made.run.key)
    assert (told.device, told.num_devices) == ("cpu", 1)
    assert (told.rounds_finished, told.rounds_to_do) == (0, 2)
    spent = sum(row["evaluations"] for row in made.run.metrics())
    assert told.evaluations == {"rounds": spent, "judging": 32, "final": 32, "best": 16}
    assert (told.measured, told.bytes_kept) == (None, None)
    assert not own_store.exists()


def test_of_a_run_that_is_done_nothing_is_left(again):
    told = forecast_run(again.params, measure=False)
    assert (told.rounds_finished, told.rounds_to_do) == (2, 0)
    assert told.evaluations == {"rounds": 0, "judging": 0, "final": 0, "best": 16}


@pytest.mark.parametrize(
    ("overrides", "to_do", "judging", "final"),
    [
        (("run.rounds=3",), 1, 16, 16),  # the policy after 3, on both kinds of captions
        (("run.rounds=5", "evaluate.every=1"), 3, 64, 16),  # those after 1, 3, 4 and 5
        (("run.rounds=1",), 0, 16, 16),
        (("evaluate.num_prompts=3",), 0, 24, 0),  # base and last again, on fewer captions
    ],
)
def test_what_is_left_of_it_is_what_has_not_been_done_as_asked_for_now(again, overrides, to_do, judging, final):
    told = forecast_run(again.with_params(*overrides), measure=False)
    assert (told.rounds_to_do, told.evaluations["judging"], told.evaluations["final"]) == (to_do, judging, final)


def test_parameters_that_are_not_those_of_params_yaml_are_named(own_store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert forecast_run(tiny_params("rollout.eta=0.3"), measure=False).changed == {}
    write_text(tmp_path / "params.yaml", written(tiny_params()))
    chosen = tiny_params("rollout.eta=0.3", "guards.kl.action=stop")
    assert forecast_run(chosen, measure=False).changed == {
        "rollout.eta": 0.3,
        "guards.kl": {"action": "stop", "most": chosen.guards.kl.most},
    }


def test_what_training_would_refuse_is_refused(own_store):
    with pytest.raises(ValueError, match="evaluate.num_prompts: at most the"):
        forecast_run(tiny_params("evaluate.num_prompts=9999"), measure=False)


def test_the_bytes_that_are_kept_are_those_of_a_trial_less_what_retention_lets_go(own_store, monkeypatch):
    """Of five rounds of 39 bytes, every second judged, two keep all, one its policy of 11 too, two not even that.

    The latents are 3 + 5 + 7 bytes, so 5 x 39 - 3 x 15 - 2 x 11 = 128 are left.
    """
    sizes = {"anchors": 3, "transitions": 5, "completions": 7, "policy": 11, "rewards": 13}
    measured = replace(MEASURED, output_bytes=sizes)
    monkeypatch.setattr(forecast, "try_out", lambda params: measured)
    params = ("run.rounds=5", "evaluate.every=2")
    told = forecast_run(tiny_params(*params, "retention.rounds=2"), measure=True)
    assert (told.measured, told.bytes_kept) == (measured, 128)
    assert forecast_run(tiny_params(*params, "retention.rounds=null"), measure=True).bytes_kept == 5 * 39
