"""What guards look at, made by hand: histories, and runs of the store in which nothing was computed."""

from pathlib import Path

from manifests import manifest
from tiny import tiny_params

from flows.guards.history import History
from stages.contract.declared_stages import EVALUATE
from stages.disk.policy_state import write_base
from stages.disk.tables import EVALUATIONS, arrow, write_shard
from stages.params.record import for_report
from stages.store.manifest import write_manifest
from stages.store.run import open_run

CALM = {"update/grad_norm": 1.0, "advantage/zero_spread_frac": 0.0, "evaluations": 92.0, "cpu_seconds": 0.5}
"""Metrics of a round in which no guard finds anything."""


def history(metrics, *overrides, held_out=None):
    """A history of rounds with these metrics, each a mapping by name."""
    return History(tiny_params(*overrides), Path(), metrics, held_out or {})


def column(name, *values):
    """Rounds in which one metric has these values."""
    return [{name: value} for value in values]


def write_scores(folder, *, policy_round, num_steps=4, shard=0, **scores):
    """Write a shard of an evaluation's table: the scores of each reward, a prompt each."""
    rows = [(f"tuning-{place:04d}", name, value) for name, of in scores.items() for place, value in enumerate(of)]
    prompts, rewards, values = zip(*rows, strict=True)
    columns = {
        "policy_round": [policy_round] * len(rows),
        "prompt_id": prompts,
        "num_steps": [num_steps] * len(rows),
        "reward": rewards,
        "text": prompts,
        "value": values,
    }
    write_shard(folder / "evaluations", shard, EVALUATIONS, arrow(EVALUATIONS, columns), stamp="1")


def judge(run, params, policy_round, *, finally_too=None, others_too=True, **scores):
    """Note that a policy was judged with these scores, and with others on the captions of the report.

    The other rewards of `evaluate.rewards` get 0, or with `others_too=False` nothing.
    """
    rest = dict.fromkeys(params.evaluate.rewards, [0.0] * len(next(iter(scores.values())))) if others_too else {}
    for by, found in ((params, rest | scores), (for_report(params), finally_too)):
        if found:
            folder = run.evaluation_folder(policy_round, by.evaluate.split)
            write_scores(folder, policy_round=policy_round, **found)
            (folder / "pictures").mkdir(exist_ok=True)
            (folder / "pictures" / "part-00000.parquet").touch()
            parameters = EVALUATE.parameters(by, policy_round)
            write_manifest(folder, EVALUATE, manifest(EVALUATE, parameters=parameters))
    if policy_round:
        write_base(run.policy_folder(policy_round), f"policy {policy_round}")


def finish(run, *rounds):
    """Finish rounds with these metrics, each beside those of a calm round."""
    for metrics in rounds:
        number = run.num_finished
        run.write_metrics(number, CALM | metrics)
        run.finish_round(number)


def run_by_hand(*rounds, params=None):
    """A run of the store that has finished rounds with these metrics, and its parameters."""
    params = params or tiny_params()
    run = open_run(params, device="cpu")
    finish(run, *rounds)
    return run, params
