import pytest
from refusals import refusal, shipped

RAY = ("placement.runner=ray", "placement.num_runners=4")
SCORERS = "placement.scorers={{num_runners: {}, gpus_per_runner: {}, resource: null}}"


def placement(*overrides):
    return shipped(*overrides).placement


def test_all_runners_update_unless_fewer_are_named():
    assert placement().num_updating == 1
    assert placement(*RAY).num_updating == 4
    assert placement(*RAY, "placement.update_runners=2").num_updating == 2
    assert placement("placement.num_runners=4").num_updating == 1  # all in the process of the flow


def test_devices_are_those_of_the_runners_and_of_the_scorers_shares_rounded_up():
    on_gpus = (*RAY, "resources.device=cuda", "placement.gpus_per_runner=1")
    assert placement().num_devices == 1
    assert placement(*RAY).num_devices == 4
    assert placement(*on_gpus, SCORERS.format(3, 0.5)).num_devices == 4 + 2
    assert placement(*on_gpus, SCORERS.format(2, 0.5)).num_devices == 4 + 1
    assert placement(*on_gpus, SCORERS.format(3, 0)).num_devices == 4
    assert placement(*RAY, SCORERS.format(3, 0.5)).num_devices == 4 + 3  # on CPUs each is one


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            [*RAY, "placement.update_runners=5"],
            "placement.update_runners: at most placement.num_runners, 4, can update, got 5. Lower it, or set it to",
        ),
        (["placement.staleness=1"], "placement.staleness: 0 is required if no runner is left to sample during the"),
        ([*RAY, "placement.staleness=1"], "placement.staleness: 0 is required if no runner is left"),
        ([*RAY, "placement.staleness=2", "placement.update_runners=2"], "placement.staleness: input should be 0 or 1"),
        (["placement.runner=slurm"], "placement.runner: input should be 'local' or 'ray', got 'slurm'"),
        (["placement.gpus_per_runner=2"], "placement.gpus_per_runner: input should be 0 or 1, got 2"),
        (["placement.parallel=tensor"], "placement.parallel: input should be 'auto', 'ddp' or 'fsdp', got 'tensor'"),
        (["placement.max_restarts=-1"], "placement.max_restarts: input should be greater than or equal to 0, got -1"),
        ([SCORERS.format(0, 0.5)], "placement.scorers.num_runners: input should be greater than or equal to 1"),
        ([SCORERS.format(1, 2)], "placement.scorers.gpus_per_runner: input should be less than or equal to 1, got 2"),
    ],
)
def test_bad_values_are_refused(overrides, message):
    assert message in refusal(*overrides)


def test_a_round_may_be_rolled_out_ahead_where_runners_are_left_for_it():
    assert placement(*RAY, "placement.update_runners=3", "placement.staleness=1").staleness == 1
