"""The update by several processes: DDP and FSDP2 over gloo against one process, and checkpoints between them."""

from closeness import close_policy, close_table
from random_bases import tiny_latent_params
from rounds import new_run, run_round
from tiny import tiny_params
from worlds import Update, together

from stages.disk.tables import shard_evaluations
from stages.engine.loaded_models import Resources
from stages.readings.budget import round_evaluations

THREE = ("prompts.num_prompts=3", "prompts.shard_size=3", "rollout.steps=[0]", "update.micro_batch=1")
"""Three sites an optimizer step, one by one: two for the first process, one for the second."""

CASES = {
    "shares": (tiny_params(), "fsdp"),
    "copies": (tiny_params(), "ddp"),
    "shares, KL, average, two passes, uneven micro-batches": (
        tiny_params(*THREE, "update.kl_weight=0.5", "update.ema_decay=0.9", "update.num_epochs=2"),
        "fsdp",
    ),
    "shares, a step for each k": (tiny_params("rollout.steps=[0, 1]", "update.cadence=step"), "fsdp"),
    "copies, a step for each k, uneven micro-batches": (
        tiny_params(*THREE, "rollout.steps=[0, 1]", "update.cadence=step"),
        "ddp",
    ),
}


def close(one, other):
    """Whether two updates wrote the same tables and policies."""
    for table in ("old_log_probs", "updates"):
        close_table(one / table, other / table)
    close_policy(one / "policy", other / "policy")


def rounds(params, monkeypatch, home, number):
    """A run with so many rounds finished, in a store of its own."""
    monkeypatch.setenv("G2RPO_HOME", str(home))
    run, params, resources = new_run(params)
    for finished in range(number):
        run_round(run, params, resources, finished)
    return run


def alone_params(params):
    return params.model_copy(update={"placement": params.placement.model_copy(update={"runner": "local"})})


def test_two_processes_take_the_step_of_one(monkeypatch, tmp_path):
    updates, alone, paces = [], [], []
    cases = CASES | {"copies of an adapter": (tiny_latent_params("flux1", "update.learning_rate=1e-3"), "auto")}
    for number, (params, parallel) in enumerate(cases.values()):
        run = rounds(params, monkeypatch, tmp_path / f"home-{number}", 2)
        updates.append(Update.shared(run, params, 1, tmp_path / f"two-{number}", parallel))
        alone.append(run.round_folder(1))
    together(2, updates)
    for update, one in zip(updates, alone, strict=True):
        close(update.out, one)
        counted = round_evaluations(update.params, 1) - round_evaluations(alone_params(update.params), 1)
        paced = shard_evaluations(update.out / "updates", 0) - shard_evaluations(one / "updates", 0)
        assert paced == counted
        paces.append(paced)
    assert max(paces) > 0  # where shares differ, the smaller one keeps pace


def test_a_checkpoint_of_two_is_gone_on_with_by_one_and_by_three(monkeypatch, tmp_path):
    params = tiny_params("update.ema_decay=0.9")
    run = rounds(params, monkeypatch, tmp_path / "home", 2)
    together(2, [Update.shared(run, params, 0, tmp_path / "two", "fsdp")])
    close(tmp_path / "two", run.round_folder(0))
    on = {"previous_policy": tmp_path / "two" / "policy"}
    Update.of(run, params, 1, tmp_path / "one", **on).do(Resources(params))
    three = [Update.shared(run, params, 1, tmp_path / f"three-{how}", how, **on) for how in ("fsdp", "ddp")]
    together(3, three)
    for update in three:
        close(update.out, tmp_path / "one")
