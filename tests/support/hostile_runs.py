"""A tiny stored run, copies of it that others have had in their hands, and what the product does with them."""

import json
import shutil
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hostile import check_words
from said import said
from stages_by_hand import StagesByHand
from tiny import ROOT, tiny_params

from flows.common.unforeseen import on_terminal
from flows.guards.watch import Guards
from flows.observers.observer import Observers
from flows.report.run_list import listed
from flows.training.loop import Loop, call_plainly
from flows.upkeep.store_commands import pruned
from stages.contract.declared_stages import STAGES
from stages.disk.files import file_digest, value_digest
from stages.disk.policy_state import state_digest
from stages.engine.execute import run_stage
from stages.engine.loaded_models import LoadedModels
from stages.integrity.former import restore_former
from stages.integrity.repair import repair
from stages.integrity.resume import resume
from stages.integrity.verify import verify
from stages.readings.best_round import best_round
from stages.readings.metrics import evaluation_metrics, round_metrics
from stages.readings.reward_spread import group_spreads, spread_table, stored_rewards
from stages.readings.trace import trace_prompt
from stages.store.lock import locked
from stages.store.manifest import stamp_of
from stages.store.run import Run, find_run, open_run
from stages.store.transfer import link_out
from stages.texts.lists import family_captions

SETTINGS = ("evaluate.every=2", "retention.rounds=1", "evaluate.rewards=[judge_a, rule_soft]")
"""Of a run of two rounds whose first is pruned."""


@dataclass
class StoredRun:
    """A run that no case may change, and the trees of its JSON files by their names in the run."""

    path: Path
    files: dict[str, bytes] = field(default_factory=dict)
    trees: dict[str, dict] = field(default_factory=dict)

    @classmethod
    def made(cls, folder):
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("G2RPO_HOME", str(folder))
            params = tiny_params(*SETTINGS, f"prompts.path={_lists(folder / 'lists')}")
            run = open_run(params, device="cpu")
            with locked(run.path):
                Loop(run, params, StagesByHand(), call_plainly, Observers([]), Guards(run, params)).train()
        made = cls(run.path)
        for path in sorted(run.path.rglob("*")):
            if path.is_file():
                made.files[str(path.relative_to(run.path))] = path.read_bytes()
        made.trees = {name: json.loads(content) for name, content in made.files.items() if name.endswith(".json")}
        return made

    def copy(self, here):
        """A copy in the store of a case."""
        return Run(Path(shutil.copytree(self.path, here / "store/runs" / self.path.name)))


def _lists(folder):
    """Short lists of prompts, which each check of a run reads."""
    folder.mkdir(parents=True)
    for split in ("train", "tuning", "test"):
        (folder / f"{split}.txt").write_text("\n".join(family_captions("shapes", split)[:4]))
    return folder


def write_forged(path, tree, *, fitting):
    """Write a JSON file with a seal that fits, and if asked with digests, stamps and a key that fit too."""
    if fitting and isinstance(tree, dict):
        with suppress(Exception):  # a tree may be anything
            _refit(path, tree)
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(tree, dict) and path.name != "state.json":
        rest = {name: value for name, value in tree.items() if name != "seal"}
        with suppress(UnicodeEncodeError):
            tree = rest | {"seal": value_digest(json.loads(json.dumps(rest)))}
    path.write_text(json.dumps(tree))


def _refit(path, tree):
    if path.name == "run.json":
        tree["key"] = value_digest(tree["fingerprint"])[:16]
    elif path.name == "state.json":
        tree["digest"] = state_digest(tree["num_steps"], tree["files"])
    for out in tree.get("outputs", {}).values():
        out["digest"] = value_digest(out["files"])
    if path.stem in STAGES:
        tree["stamp"] = stamp_of(STAGES[path.stem], tree["number"], tree["inputs"], tree["parameters"])


def disguise(run, path):
    """Have every manifest say that a changed file of an output is the one that was written."""
    folder = path.parent
    if path.suffix == ".safetensors":
        state = json.loads((folder / "state.json").read_text())
        state["files"][path.name] = file_digest(path)
        former, state["digest"] = state["digest"], state_digest(state["num_steps"], state["files"])
        (folder / "state.json").write_text(json.dumps(state))
        _replace(run, {former: state["digest"]})
        _own_manifest(run, folder, "state.json")
    _own_manifest(run, folder, path.name)


def _own_manifest(run, folder, name):
    """Put a file's digest into the manifest of its stage, and the output's digest into those that read it."""
    for path in folder.parent.glob("*.json"):
        manifest = json.loads(path.read_text())
        out = manifest.get("outputs", {})
        if path.stem in STAGES and folder.name in out and name in out[folder.name]["files"]:
            one = out[folder.name]
            one["files"][name] = file_digest(folder / name)
            former, one["digest"] = one["digest"], value_digest(one["files"])
            write_forged(path, manifest, fitting=True)
            _replace(run, {former: one["digest"]})


def _replace(run, digests):
    for path in (*run.path.glob("rounds/*/*.json"), *run.path.glob("evaluations/*/*.json")):
        manifest = json.loads(path.read_text())
        if not digests.keys().isdisjoint(manifest.get("inputs", {}).values()):
            manifest["inputs"] = {name: digests.get(value, value) for name, value in manifest["inputs"].items()}
            write_forged(path, manifest, fitting=True)


class CarefulStages(StagesByHand):
    """Stages by hand, whose own surprise at a table is a refusal: they are no part of the product."""

    def do(self, stage, job):
        try:
            return super().do(stage, job)
        except Exception as error:
            ours = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_ours(frame.filename)]
            if "tests" in Path(ours[-1].filename).relative_to(ROOT).parts:
                raise ValueError("the stages of these tests cannot read this") from error
            raise


def _is_ours(name):
    return name.startswith(f"{ROOT}/") and ".venv" not in name


def _verify(run):
    found = verify(run)
    for damage in found:
        check_words(on_terminal(str(damage)))
    if found:
        raise ValueError("damaged")


def _list(run):
    rows = listed()
    for row in rows:
        check_words(str(row["state"]))
    if any(str(row["state"]).startswith("damaged") for row in rows):
        raise ValueError("damaged")


def _adopt(run):
    elsewhere = run.path.parents[2] / "elsewhere"
    run.path.rename(elsewhere)
    check_words(said("adopt", elsewhere))
    for each in (run.path.parent).glob("*"):
        verify(Run(each))


def _hear(line):
    check_words(on_terminal(line))  # as a session prints it


def _resume(run):
    with locked(run.path):
        resume(run, run.params(), CarefulStages(), _hear)


def _repair(run):
    with locked(run.path):
        restore_former(run)
        repair(run, verify(run), run.params(), CarefulStages())


def _read(run):
    found = find_run(run.path.name[:8])
    best_round(found, found.params())
    return [found.key, found.about, found.metrics(), found.links, found.parent]


def _metrics(run):
    for number in range(run.num_finished):
        round_metrics(run, number)


def _evaluations(run):
    for one in run.evaluations():
        evaluation_metrics(run.evaluation_folder(*one))
    best_round(run, run.params())


def _spread(run):
    rewards = stored_rewards(run, "a setting")
    group_spreads(rewards)
    spread_table(rewards, 1)


def _integrate(run):
    params = run.params()
    run_stage(run, STAGES["integrate"], 1, params, LoadedModels(params), force=True)


OPERATIONS = {
    "list": _list,
    "read": _read,
    "verify": _verify,
    "prune": lambda run: pruned(run.path.name, 1),
    "adopt": _adopt,
    "resume": _resume,
    "repair": _repair,
    "link out": lambda run: link_out(run, run.path.parents[2] / "out", 1),
    "metrics": _metrics,
    "evaluations": _evaluations,
    "trace": lambda run: trace_prompt(run, 1, "p0"),
    "spread": _spread,
    "integrate": _integrate,
}
"""What commands do with a run, by name."""
