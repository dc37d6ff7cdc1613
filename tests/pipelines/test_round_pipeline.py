import pytest

pytestmark = pytest.mark.slow

FOLDER = "pipelines/round"
STAGES = ("prompts", "rollout", "complete", "score", "integrate", "update")


@pytest.fixture(scope="module")
def one_round(reproduced):
    """The reproduced repository after one round as six DVC stages."""
    assert ran(reproduced) == list(STAGES)
    return reproduced


def ran(repository):
    """Run the round, and return the stages that were run."""
    said = repository.dvc("repro", within=FOLDER)
    return [name for name in STAGES if f"Running stage '{name}'" in said]


def test_a_round_as_dvc_stages_is_the_first_round_of_the_run(one_round):
    (run,) = (one_round.store / "runs").iterdir()
    assert ran(one_round) == []  # nothing that the stages leave behind makes them run again
    of_run = {p.relative_to(run / "rounds/0000"): p.read_bytes() for p in (run / "rounds/0000").rglob("part-*")}
    assert of_run
    for path, content in of_run.items():
        (found,) = (one_round.path / FOLDER).glob(f"*/{path}")
        assert found.read_bytes() == content, path


def test_a_changed_parameter_runs_what_it_reaches_and_no_more(one_round):
    one_round.set(integrate__clamp=0.5)
    assert ran(one_round) == ["integrate", "update"]
    one_round.set(integrate__reward_weights={"judge_a": 2.0})
    assert ran(one_round) == ["integrate", "update"]
    one_round.set(rollout__eta=0.6)
    assert ran(one_round) == ["rollout", "complete", "score", "integrate", "update"]
    said = one_round.dvc("exp", "run", "-S", "../../params.yaml:integrate.clamp=2.0", within=FOLDER)
    assert [name for name in STAGES if f"Running stage '{name}'" in said] == ["integrate", "update"]
    one_round.set(run__rounds=9, rollout__eta=0.7, integrate__clamp=5.0, integrate__reward_weights={"judge_a": 1.0})
    assert ran(one_round) == []


def test_a_round_begins_with_any_stored_policy(one_round):
    (run,) = (one_round.store / "runs").iterdir()
    words = ("one-round", "rollout", "--round", "1", "--folder", "second")
    one_round.g2rpo("one-round", "prompts", "--round", "1", "--folder", "second")
    one_round.g2rpo(*words, "--policy", "outputs/run/rounds/0000/policy")
    tables = [f"{name}/part-0000{shard}.parquet" for name in ("anchors", "transitions") for shard in (0, 1)]
    for table in tables:
        made = one_round.path / "second/rollout" / table
        assert made.read_bytes() == (run / "rounds/0001" / table).read_bytes()
    assert "which is neither" in one_round.g2rpo(*words, "--policy", "g2rpo", refused=True)
