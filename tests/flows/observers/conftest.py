import pytest
from rounds import new_run
from tiny import tiny_params

from flows.guards.finding import Finding
from flows.observers.observer import Evaluated
from stages.disk.tables import EVALUATIONS, arrow, write_shard


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of the test's own store that has finished four rounds."""
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path / "store"))
    run, _, _ = new_run(tiny_params())
    run.finish_round(3)
    return run


@pytest.fixture
def judged(tmp_path):
    """The policy after ten rounds on two captions; the mean of `rule_strict` is 0.45, that of `judge_a` 0.8."""
    columns = {
        "policy_round": [10] * 6,
        "prompt_id": ["tuning-0", "tuning-1"] * 3,
        "num_steps": [8] * 4 + [4] * 2,
        "reward": ["rule_strict"] * 2 + ["judge_a"] * 4,
        "text": ["a red circle", "a blue square"] * 3,
        "value": [0.4, 0.5, 0.7, 0.9, 0.1, 0.3],
    }
    write_shard(tmp_path / "evaluations", 0, EVALUATIONS, arrow(EVALUATIONS, columns), stamp="1")
    return Evaluated(10, "tuning", tmp_path)


@pytest.fixture
def finding():
    return Finding("kl", 10, "the policy has moved by 0.2", "warn")
