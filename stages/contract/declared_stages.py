"""The stages by name: what each reads and writes, and which parameters it depends on."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from stages.contract.job import Job
from stages.params.record import Params
from stages.params.section import Effect

Model = Literal["network", "base", "decoder", "rewards"]
"""What a stage may compute with: the network that paints (and learns, unless that lies in shares), the base's own where
all weights are trained, the autoencoder, the rewards."""


@dataclass(frozen=True)
class Stage:
    """A declared stage; its code is `stages/<name>.py`, loaded when it is first run."""

    name: str
    inputs: tuple[str, ...]
    """Tables of the same round; `previous_policy`, that it trains on from; `behaviour_policy`, that paints it."""
    outputs: tuple[str, ...]
    sections: tuple[str, ...]
    """Sections of params.yaml that change what it writes, or a key of one, as `rollout.shift`."""
    origins: tuple[Literal["prompts", "rewards"], ...] = ()
    """What it reads that no stage wrote: the list of prompts, the rewards."""
    models: tuple[Model, ...] = ()
    """What it computes with; the rest may leave the device meanwhile."""
    sharded: bool = True
    """Whether it can be given some of its shards; the update learns from all at once."""

    def load(self) -> Callable[[Job, Any], None]:
        """Return `run(job, resources)` of the stage's module."""
        return importlib.import_module(f"stages.{self.name}").run  # noqa: TID251

    def parameters(self, params: Params, number: int) -> dict[str, Any]:
        """Return what the stage's results of a round, or of a policy, depend on, as plain values.

        Of `update.halved_after` that is what has come: the rounds before are those of a run that lacks the rest.
        """
        found: dict[str, dict[str, Any]] = {}
        for name in self.sections:
            section, dot, key = name.partition(".")
            values = getattr(params, section).without(Effect.NONE, Effect.CONTENTS)
            found[section] = {key: values[key]} if dot else values
        if halved := found.get("update", {}).get("halved_after"):
            found["update"]["halved_after"] = [after for after in halved if after <= number]
        return found


ROUND_STAGES = (
    Stage("prompts", (), ("prompts",), ("run", "prompts"), ("prompts",), sharded=False),
    Stage(
        "rollout",
        ("prompts", "behaviour_policy"),
        ("anchors", "transitions"),
        ("run.seed", "resources", "policy", "rollout"),
        models=("network",),
    ),
    Stage(
        "complete",
        ("prompts", "transitions", "behaviour_policy"),
        ("completions", "diversity"),
        ("resources", "policy", "rollout", "complete"),
        models=("network",),
    ),
    Stage(
        "score",
        ("prompts", "completions"),
        ("rewards",),
        ("resources", "policy", "score"),
        ("rewards",),
        models=("decoder", "rewards"),
    ),
    Stage("integrate", ("rewards",), ("advantages",), ("complete", "integrate")),
    Stage(
        "update",
        ("prompts", "anchors", "transitions", "advantages", "previous_policy"),
        ("old_log_probs", "updates", "policy"),
        ("resources", "placement", "policy", "rollout", "update"),
        models=("network", "base"),
        sharded=False,
    ),
)

POLICY_INPUTS = ("previous_policy", "behaviour_policy", "policy")
"""Inputs that are policies and no tables: what a round trains on from, what paints it, and what is evaluated."""

EVALUATE = Stage(
    "evaluate",
    ("policy",),
    ("evaluations", "pictures"),
    ("resources", "policy", "rollout.shift", "evaluate"),
    ("prompts", "rewards"),
    models=("network",),  # then decoder and rewards: it asks for them itself
    sharded=False,
)

STAGES = {stage.name: stage for stage in (*ROUND_STAGES, EVALUATE)}
