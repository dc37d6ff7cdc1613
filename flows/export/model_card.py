"""The model card of an exported policy: README.md with the header for the Hugging Face hub, and two pictures."""

import json
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from flows.common.escape import Markdown, code, markdown, page
from flows.report.pictures import before_after, curves
from flows.report.published_methods import Published, published
from g2rpo.policies.families import FAMILIES
from g2rpo.policies.publishing import PUBLISHERS, Example, Licence
from stages.contract.declared_stages import EVALUATE
from stages.disk.files import write_text
from stages.disk.policy_state import policy_state
from stages.params.file import load_stored_params
from stages.params.record import Params, for_report
from stages.readings.best_round import best_trained_round, held_out_history
from stages.readings.metrics import evaluation_metrics
from stages.store.manifest import read_manifest
from stages.store.run import Run
from stages.texts.lists import full_list

_PARAMETERS = (
    *("run.seed", "resources.dtype", "prompts.num_prompts"),
    *("complete.granularities", "complete.stride_rule", "integrate.granularity_weights", "integrate.fusion"),
    *("integrate.normalise", "integrate.std_floor_frac", "integrate.clamp"),
    *("update.learning_rate", "update.warmup_rounds", "update.decay_rounds", "update.final_frac"),
    *("update.train_frac", "update.cadence", "update.num_minibatches", "update.num_epochs"),
    *("update.clip_range", "update.kl_weight", "update.ema_decay"),
)
"""Parameters that a card shows, beside the sections policy and rollout."""

_BASE = {"family", "path", "revision"}
_OF_REWARDS = {"backend", "quality", "model", "revision"}
"""Settings of a reward that a card shows beside its sources; addresses and tokens of servers stay out."""


@dataclass(frozen=True)
class Exported:
    """An exported policy. Example: `Exported(run, params, rounds=300, as_lora=True)`."""

    run: Run
    params: Params
    rounds: int
    """Rounds after which the policy was taken."""
    as_lora: bool

    @property
    def best(self) -> bool:
        """Whether it is the best of the evaluated rounds."""
        return self.rounds == best_trained_round(self.run, self.run.params())

    @property
    def hub_id(self) -> str | None:
        """The base's id on the model hub; None if it is a folder or comes with this package."""
        policy = self._policy
        return policy["path"] if policy.get("revision") else None

    @property
    def base(self) -> str:
        """Name of the base, in Markdown."""
        path = self._policy["path"]
        if self.hub_id:
            return markdown(self.hub_id)
        return code(path) if path else "the base model that comes with g2rpo"

    @property
    def title(self) -> str:
        """Title of the card: the base's short name and the method."""
        path = self._policy["path"]
        return f"{Path(path).name if path else f'The {_world_of(self.params)}'} aligned by {self.method.name}"

    @property
    def method(self) -> Published:
        """The method that aligned it."""
        return published(self.params)

    @cached_property
    def licence(self) -> Licence | None:
        """The base's licence; None if unknown."""
        shipped = self._policy["path"] is None
        return PUBLISHERS[self.params.policy.family].licence(self.hub_id, shipped=shipped)

    @property
    def header(self) -> dict[str, Any]:
        """The header for the hub."""
        publisher, licence = PUBLISHERS[self.params.policy.family], self.licence
        header: dict[str, Any] = {}
        if self.hub_id:
            header |= {"base_model": self.hub_id, "base_model_relation": "adapter" if self.as_lora else "finetune"}
        if licence:
            described = {"license": licence.identifier, "license_name": licence.name, "license_link": licence.link}
            header |= {name: value for name, value in described.items() if value}
        tags = ["text-to-image", *publisher.tags, *(["lora"] if self.as_lora else []), "g2rpo"]
        return header | {"library_name": "diffusers", "pipeline_tag": "text-to-image", "tags": tags}

    @property
    def example(self) -> str:
        """Code that samples a picture of a held-out prompt."""
        shift, policy = self.params.rollout.shift, self._policy
        example = Example(
            base=policy["path"] if self.hub_id or not policy["path"] else str(Path(policy["path"]).resolve()),
            revision=policy.get("revision"),
            adapted=self.as_lora,
            dtype=self.params.resources.dtype,
            shift=None if shift == "model" else shift,
            num_steps=self.params.evaluate.num_steps[0],
            settings={name: value for name, value in policy.items() if name not in {*_BASE, "lora"}},
            prompt=full_list(self.params, self.params.report.split).texts[0],
        )
        return PUBLISHERS[self.params.policy.family].example(example)

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters of the training, by `section.key`, as JSON."""
        tree = self.params.model_dump(mode="json")
        values = {f"policy.{name}": value for name, value in tree["policy"].items() if name not in _BASE}
        values |= {f"rollout.{name}": value for name, value in tree["rollout"].items() if name != "micro_batch"}
        for key in _PARAMETERS:
            section, name = key.split(".")
            values[key] = tree[section][name]
        return {key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}

    @property
    def rewards(self) -> list[dict[str, str]]:
        """The rewards, each with name, kind, source and weight in training."""
        weights = self.params.integrate.reward_weights
        names = dict.fromkeys((*self.params.score.rewards, *self.params.evaluate.rewards))
        return [
            {"name": name, "weight": f"{weights[name]:g}" if name in weights else "none: evaluated only"}
            | _described(self.params, name)
            for name in names
        ]

    @property
    def prompts(self) -> dict[str, Any]:
        """The texts of the training: source, split, number and digest."""
        split = self.params.prompts.split
        source = load_stored_params(self.run.path / "params.yaml").prompts.path
        return {
            "source": code(source) if source else "the family's own captions",
            "split": split,
            "number": len(full_list(self.params, split).texts),
            "digest": self.run.fingerprint.values[f"origins.prompts/{split}"],
        }

    @property
    def origin(self) -> dict[str, str]:
        """Run, commit and package versions."""
        links = self.run.links
        changed = " with uncommitted changes" if links.get("git_dirty") == "true" else ""
        commit = {"g2rpo's commit": links["git_commit"] + changed} if "git_commit" in links else {}
        trained = {"torch in training": links["torch"]} if "torch" in links else {}
        at_export = {f"{name} at the export": version(name) for name in ("torch", "diffusers")}
        return {"run": self.run.key} | commit | trained | at_export

    @property
    def _policy(self) -> dict[str, Any]:
        return self.params.policy.model_dump(mode="json")


@dataclass(frozen=True)
class Result:
    """The evaluations of base and aligned policy on the same prompts.

    Example: a row `{"name": "hps", "trained": True, "base": 0.301, "aligned": 0.334}`.
    """

    by: Params
    """The parameters; the section `evaluate` is that of these evaluations."""
    base: Path
    """Folder of the base's evaluation."""
    aligned: Path
    """Folder of the exported policy's evaluation."""
    final: bool
    """Whether the evaluations are those on `report.split`."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row per reward, and per number of steps if there are several."""
        base = evaluation_metrics(self.base, self.by.evaluate.rewards)
        aligned = evaluation_metrics(self.aligned, base)
        trained = self.by.score.rewards
        return [
            {"name": name, "trained": name.split("/")[0] in trained, "base": value, "aligned": aligned[name]}
            for name, value in base.items()
        ]

    @property
    def apartness(self) -> str:
        """A sentence on whether training or the choice of the round used these prompts."""
        split, trained = self.by.evaluate.split, self.by.prompts.split
        if trained == split or "all" in (trained, split):
            return "Training used these prompts."
        if not self.final:
            return "Training did not use these prompts, but the run was evaluated on them."
        return "Neither training nor the choice of the round used these prompts."

    @classmethod
    def of(cls, exported: Exported) -> "Result | None":
        """Return the final evaluations, else those of the training; None if neither has the present parameters."""
        for by, final in ((for_report(exported.params), True), (exported.params, False)):
            base, own = (exported.run.evaluation_folder(n, by.evaluate.split) for n in (0, exported.rounds))
            manifests = [read_manifest(folder, EVALUATE) for folder in (base, own)]
            expected = EVALUATE.parameters(by, exported.rounds)
            if all(manifest and manifest["parameters"] == expected for manifest in manifests):
                return cls(by, base, own, final)
        return None


def write_card(folder: Path, exported: Exported) -> None:
    """Write README.md and `curves.png`, and `before_after.png` if there are evaluations."""
    run, params = exported.run, _up_to(exported)
    result, history = Result.of(exported), held_out_history(run, params)
    curves(run, params, folder / "curves.png")
    if result:
        shown = params.with_values({"report.split": result.by.evaluate.split})
        before_after(result.base, result.aligned, shown, folder / "before_after.png")
    card = page(
        "model_card.md",
        exported=exported,
        header=yaml.safe_dump(exported.header, sort_keys=False, allow_unicode=True),
        lora=params.policy.model_dump().get("lora"),
        result=result,
        history=history,
        base_digest=run.fingerprint.values["origins.policy"],
        num_steps=policy_state(run.policy_folder(exported.rounds)).num_steps,
    )
    write_text(folder / "README.md", card)


def _up_to(exported: Exported) -> Params:
    return exported.params.with_values({"run.rounds": exported.rounds})


def _described(params: Params, name: str) -> dict[str, str]:
    """Return the kind of a reward, and its source: its files and the settings in `_OF_REWARDS`."""
    settings = params.rewards.get(name)
    if settings is None:
        return {"kind": _world_of(params), "source": "comes with g2rpo"}
    fields = settings.model_dump(mode="json")
    sources = [_source(name, value) for name, value in fields.items() if isinstance(value, dict) or name in _OF_REWARDS]
    return {"kind": settings.kind, "source": Markdown(", ".join(sources))}


def _world_of(params: Params) -> str:
    world = FAMILIES[params.policy.family].world
    assert world is not None, f"The family {params.policy.family} has its base and rewards from elsewhere."
    return world.title


def _source(field: str, value: Any) -> str:
    if not isinstance(value, dict):
        return markdown(f"{field} {value}")
    revision = markdown(f" at {value['revision']}") if value["revision"] else ""
    return f"{field} {code('/'.join(filter(None, (value['path'], value.get('file')))))}{revision}"
