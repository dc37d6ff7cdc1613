"""The update by several processes: DDP and FSDP2 over gloo against one process, and checkpoints between them."""

import pytest
from closeness import close_policy, close_table
from random_bases import tiny_latent_params
from rounds import new_run
from tiny import tiny_params
from worlds import Update, together

from stages.contract.declared_stages import ROUND_STAGES
from stages.disk.tables import shard_evaluations
from stages.engine.execute import run_stage
from stages.engine.loaded_models import LoadedModels
from stages.readings.budget import round_evaluations

THREE = ("prompts.num_prompts=3", "prompts.shard_size=3", "update.micro_batch=1", "update.cadence=step")
"""Three sites an optimizer step, one by one: two for the first process, one for the second."""
PASSES = ("update.kl_weight=0.5", "update.ema_decay=0.9", "update.num_epochs=2")

CASES = {
    "shares": (tiny_params(), "fsdp"),
    "copies": (tiny_params(), "ddp"),
    "shares, a step for each k": (tiny_params("update.cadence=step"), "fsdp"),
    "shares, KL, average, two passes, uneven micro-batches": (tiny_params(*THREE, *PASSES), "fsdp"),
    "copies, uneven micro-batches": (tiny_params(*THREE), "ddp"),
}


def close(one, other):
    """Whether two updates wrote the same tables and policies."""
    for table in ("old_log_probs", "updates"):
        close_table(one / table, other / table)
    close_policy(one / "policy", other / "policy")


@pytest.fixture
def to_learn(tmp_path, monkeypatch):
    """Makes a run whose first round lacks its update alone; one for all parameters that differ in that."""
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path / "store"))
    made = {}

    def make(params):
        known = str(params.model_dump(exclude={"update"}))
        if known not in made:
            run, params, resources = new_run(params)
            for stage in ROUND_STAGES[:-1]:
                run_stage(run, stage, 0, params, resources)
            made[known] = run
        return made[known]

    return make


def alone_params(params):
    return params.with_values({"placement.runner": "local"})


def test_two_processes_take_the_step_of_one(to_learn, tmp_path):
    updates, alone, paces = [], [], []
    adapter = tiny_latent_params("flux1", "update.learning_rate=1e-3", "update.num_epochs=2")
    cases = CASES | {"copies of an adapter": (adapter, "auto")}
    for number, (params, parallel) in enumerate(cases.values()):
        run = to_learn(params)
        updates.append(Update.shared(run, params, 0, tmp_path / f"two-{number}", parallel))
        alone.append(Update.of(run, params, 0, tmp_path / f"one-{number}"))
        alone[-1].do(LoadedModels(params))
    first, again = {"previous_policy": alone[0].out / "policy"}, tiny_params("update.max_log_prob_gap=1")
    run = to_learn(again)  # from what one process has trained, moments included
    updates.append(Update.shared(run, again, 0, tmp_path / "two-again", "fsdp", **first))
    alone.append(Update.of(run, again, 0, tmp_path / "one-again", **first))
    alone[-1].do(LoadedModels(again))
    together(2, updates)
    for update, one in zip(updates, alone, strict=True):
        close(update.out, one.out)
        counted = round_evaluations(update.params, 0) - round_evaluations(alone_params(update.params), 0)
        paced = shard_evaluations(update.out / "updates", 0) - shard_evaluations(one.out / "updates", 0)
        assert paced == counted
        paces.append(paced)
    assert max(paces) > 0  # where shares differ, the smaller one keeps pace


@pytest.mark.slow
def test_a_checkpoint_of_one_is_gone_on_with_by_two_and_of_two_by_one_and_by_three(to_learn, tmp_path):
    """Weights, moments and average: the second update is made from the tables of the first round once more."""
    params = tiny_params("update.ema_decay=0.9", "update.max_log_prob_gap=1")
    run = to_learn(params)
    Update.of(run, params, 0, tmp_path / "one").do(LoadedModels(params))
    of_one, of_two = ({"previous_policy": tmp_path / name / "policy"} for name in ("one", "two"))
    together(
        2,
        [
            Update.shared(run, params, 0, tmp_path / "two", "fsdp"),
            *(Update.shared(run, params, 0, tmp_path / f"two-{how}", how, **of_one) for how in ("fsdp", "ddp")),
        ],
    )
    for name, on in (("one-one", of_one), ("one-two", of_two)):
        Update.of(run, params, 0, tmp_path / name, **on).do(LoadedModels(params))
    three = [Update.shared(run, params, 0, tmp_path / f"three-{how}", how, **of_two) for how in ("fsdp", "ddp")]
    together(3, three)
    close(tmp_path / "two", tmp_path / "one")
    for how in ("fsdp", "ddp"):
        close(tmp_path / f"two-{how}", tmp_path / "one-one")
        close(tmp_path / f"three-{how}", tmp_path / "one-two")
