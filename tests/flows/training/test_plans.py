"""What `g2rpo plan` tells is what `g2rpo train` then does."""

import json

import pytest

from stages.contract.declared_stages import EVALUATE
from stages.readings.metrics import finished_manifest
from stages.store.run import Run

WORDS = ("run.rounds=5", "evaluate.every=2", "retention.rounds=2")


def planned(g2rpo, *overrides, options=()):
    sets = g2rpo.train_command(*overrides)[4:]
    done = g2rpo("plan", "--json", *options, *sets)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def spent(run):
    """Evaluations of the rounds, of the judging during them, and of the final one."""
    judged = {
        (n, split): finished_manifest(run.evaluation_folder(n, split), EVALUATE) for n, split in run.evaluations()
    }
    return {
        "rounds": sum(row["evaluations"] for row in run.metrics()),
        "judging": sum(m["evaluations"] for (_, split), m in judged.items() if split == "tuning"),
        "final": sum(m["evaluations"] for (n, split), m in judged.items() if split == "test" and n in (0, 5)),
    }


@pytest.mark.slow
def test_evaluations_and_bytes_of_a_plan_are_those_of_the_run_and_the_store_stays_as_it_is(g2rpo):
    told = planned(g2rpo, *WORDS, options=("--price", "3.6"))
    assert not (g2rpo.store / "runs").exists()
    assert not list(g2rpo.store.glob("measure-*"))
    g2rpo.train(*WORDS)
    run = Run(g2rpo.run_folder())
    assert told["run_key"] == run.key
    assert {name: told["evaluations"][name] for name in ("rounds", "judging", "final")} == spent(run)
    assert told["round_bytes"] == pytest.approx(run.metrics()[-1]["bytes"], rel=1e-4)  # captions are of several lengths
    kept = sum(p.stat().st_size for p in (run.path / "rounds").rglob("*.parquet"))
    kept += sum(p.stat().st_size for p in (run.path / "rounds").rglob("*.safetensors"))
    assert told["run_bytes"] == pytest.approx(kept, rel=1e-3)
    assert told["price"] == pytest.approx(told["seconds"] / 1000, abs=0.006)
    assert told["changed"]["run.rounds"] == 5
    left = planned(g2rpo, *WORDS, "run.rounds=7", options=("--no-measure",))
    assert (left["rounds_finished"], left["rounds_to_do"], left["seconds"]) == (5, 2, None)
    assert left["evaluations"]["judging"] == 2 * told["evaluations"]["best"]  # the policies after 6 and 7


def test_a_plan_refuses_what_training_would_refuse(g2rpo):
    done = g2rpo("plan", "--set", "rollout.group_size=1")
    assert done.returncode == 2
    assert "rollout.group_size" in done.stderr
