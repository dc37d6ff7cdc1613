"""The stages by name: the inputs, outputs and parameters of each."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from stages.contract.job import Job
from stages.params.record import Params
from stages.params.section import Effect

Model = Literal["network", "base", "decoder", "rewards"]
"""The models of stages: the network that samples (and trains, unless the trained weights are sharded), a separate base
if all weights are trained, the autoencoder, the rewards."""


@dataclass(frozen=True)
class Stage:
    """A declared stage; its code is `stages/<name>.py`, loaded at its first run."""

    name: str
    inputs: tuple[str, ...]
    """Tables of the same round; `previous_policy`, from which training continues; `behaviour_policy`, which samples."""
    outputs: tuple[str, ...]
    sections: tuple[str, ...]
    """Sections of params.yaml that change what it writes, or a single key, such as `rollout.shift`."""
    origins: tuple[Literal["prompts", "rewards"], ...] = ()
    """Inputs that no stage wrote: the list of prompts, the rewards."""
    models: tuple[Model, ...] = ()
    """The models that it needs; others may leave the device."""
    sharded: bool = True
    """Whether it can run on some of its shards; the update needs all at once."""

    def load(self) -> Callable[[Job, Any], None]:
        """Return `run(job, resources)` of the stage's module."""
        return importlib.import_module(f"stages.{self.name}").run  # noqa: TID251

    def parameters(self, params: Params, number: int) -> dict[str, Any]:
        """Return the parameters that the stage's results of a round, or of a policy, depend on, as plain values.

        Entries of `update.halved_after` after this round are dropped, so that a later halving does not invalidate
        earlier rounds.
        """
        sections: dict[str, dict[str, Any]] = {}
        for name in self.sections:
            section, dot, key = name.partition(".")
            values = getattr(params, section).without(Effect.NONE, Effect.CONTENTS)
            sections[section] = {key: values[key]} if dot else values
        if halved := sections.get("update", {}).get("halved_after"):
            sections["update"]["halved_after"] = [after for after in halved if after <= number]
        return sections


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
"""Inputs that are policies, not tables: the one to train on from, the one that samples, the evaluated one."""

EVALUATE = Stage(
    "evaluate",
    ("policy",),
    ("evaluations", "pictures"),
    ("resources", "policy", "rollout.shift", "evaluate"),
    ("prompts", "rewards"),
    models=("network",),  # later decoder and rewards, which it requests itself
    sharded=False,
)

STAGES = {stage.name: stage for stage in (*ROUND_STAGES, EVALUATE)}
