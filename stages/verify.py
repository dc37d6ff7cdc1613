"""Whether a run is as it was written: every file against its manifest, every manifest against the one before it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.files import file_digest, read_json, read_sealed
from stages.manifest import let_go, manifest_path, read_manifest, stamp_of
from stages.policy_files import STATE, policy_state
from stages.prompt_lists import list_digest
from stages.registry import EVALUATE, POLICY_INPUTS, ROUND_STAGES, Stage
from stages.store import WRITER, Run
from stages.tables import shard_numbers, shard_path, shard_stamp

_AS_WRITTEN = "the manifest must be as it was written"
_THREADS = 4  # hashing leaves Python's lock


@dataclass(frozen=True)
class Damage:
    """A file that is not what it was. Example: `.../rounds/0003/rewards/part-00001.parquet`, of score, round 3."""

    path: Path
    what: str
    """What is required, and what was found."""
    stage: Stage | None = None
    """The stage that makes it again; None for the run's own files."""
    number: int = 0
    """That stage's round."""

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


@dataclass(frozen=True)
class _Expected:
    """A file and the digest that a manifest says it has."""

    path: Path
    digest: str
    stage: Stage
    number: int


def verify(run: Run) -> list[Damage]:
    """Return everything that is damaged, missing or of another run, in the order of the run; nothing is changed.

    The unfinished round is held to the stages that it has finished.
    """
    found = list(_own_files(run))
    if found:
        return found  # without them nothing else can be judged
    expected: list[_Expected] = []
    for number in range(_num_rounds(run)):
        for stage in ROUND_STAGES:
            found += _stage(run, stage, number, expected)
        metrics = run.metrics_path(number)
        if number < run.num_finished and read_sealed(metrics) is None:
            found.append(Damage(metrics, "a finished round's metrics are required as they were written", None, number))
    for policy_round, split in run.evaluations():
        found += _evaluation(run, policy_round, split, expected)
    return [*found, *_altered(expected)]


def _own_files(run: Run) -> Iterator[Damage]:
    about = run.path / "run.json"
    key = run.fingerprint.key
    if key != run.key:
        yield Damage(about, f"its fingerprint must have the digest {run.key}, got {key}: it was edited")
    if (run.path / "lock").exists() and run.path.name != run.key:
        yield Damage(about, f"the run in folder {run.path.name} must have that key, got {run.key}: of another run")
    base = run.policy_folder(0) / STATE
    wanted = run.fingerprint.values.get("origins.policy")
    if not _is_base(base, wanted):
        yield Damage(base, f"the base policy with digest {wanted} is required, got another or none")
    params = run.params()
    if list_digest(params, params.prompts.split) != run.fingerprint.values[f"origins.prompts/{params.prompts.split}"]:
        yield Damage(run.prompts / params.prompts.split, "the list of prompts must be that of the run, got another")
    head = run.path / "HEAD"
    if head.is_file() and not head.read_text().strip().isdigit():
        yield Damage(head, f"a number of rounds is required, got {head.read_text()!r}")


def _is_base(path: Path, digest: Any) -> bool:
    try:
        return read_json(path) == {"digest": digest, "num_steps": 0, "files": {}}
    except (OSError, ValueError):
        return False


def _num_rounds(run: Run) -> int:
    """Return the rounds to look at: the finished ones, and one that is not finished yet."""
    return run.num_finished + run.round_folder(run.num_finished).is_dir()


def _stage(run: Run, stage: Stage, number: int, expected: list[_Expected]) -> Iterator[Damage]:
    """Check a stage's manifest; note the files that it names."""
    folder = run.round_folder(number)
    path = manifest_path(folder, stage)
    manifest = read_manifest(folder, stage)
    if manifest is None:
        if path.is_file():
            yield Damage(path, f"{_AS_WRITTEN}, got a damaged or edited one", stage, number)
        elif number < run.num_finished:
            yield Damage(path, "a finished round must have this manifest, got none", stage, number)
        else:
            yield from _unreadable(folder, stage, number)
        return
    parameters = stage.parameters(run.params())
    inputs = _inputs(run, stage, number)
    odd = [name for name, digest in inputs.items() if manifest["inputs"].get(name) != digest]
    if odd:
        required = f"the manifest must be made from this round's {', '.join(sorted(odd))}"
        yield Damage(path, f"{required}, got one of another run, round or state", stage, number)
    elif manifest["parameters"] != parameters or manifest["stamp"] != _stamp(stage, manifest, number):
        required = "the manifest must be of this run's parameters and of this round"
        yield Damage(path, f"{required}, got one of another run or round", stage, number)
    expected += _named(folder, stage, number, manifest)


def _inputs(run: Run, stage: Stage, number: int) -> dict[str, str]:
    """Return the digests that a stage's inputs must have, where they can be told."""
    digests: dict[str, str] = {}
    for name, path in run.inputs(stage, number).items():
        if name in POLICY_INPUTS:
            digest = policy_state(path).digest if (path / STATE).is_file() else None
        else:
            writer = read_manifest(path.parent, WRITER[name])
            digest = writer["outputs"][name]["digest"] if writer else None
        if digest:
            digests[name] = digest
    known = run.fingerprint.values
    split = known.get("prompts.split")
    origins = {"prompts": [f"prompts/{split}"], "rewards": [f"rewards/{name}" for name in run.params().score.rewards]}
    named = [name for kind in stage.origins for name in origins[kind]] if stage != EVALUATE else []
    return digests | {name: known[f"origins.{name}"] for name in named}


def _stamp(stage: Stage, manifest: dict[str, Any], number: int) -> str:
    return stamp_of(stage, number, manifest["inputs"], manifest["parameters"])


def _named(folder: Path, stage: Stage, number: int, manifest: dict[str, Any]) -> Iterator[_Expected]:
    for name, out in manifest["outputs"].items():
        pruned = name in let_go(folder)
        for file, digest in out["files"].items():
            path = folder / name / file
            if path.is_file() or not pruned:
                yield _Expected(path, digest, stage, number)


def _unreadable(folder: Path, stage: Stage, number: int) -> Iterator[Damage]:
    """Shards of an unfinished stage that are no Parquet files."""
    for output in stage.outputs:
        for shard in shard_numbers(folder / output):
            if shard_stamp(folder / output, shard) is None:
                path = shard_path(folder / output, shard)
                yield Damage(path, "a whole Parquet file is required, got a damaged one", stage, number)


def _evaluation(run: Run, policy_round: int, split: str, expected: list[_Expected]) -> Iterator[Damage]:
    folder = run.evaluation_folder(policy_round, split)
    manifest = read_manifest(folder, EVALUATE)
    path = manifest_path(folder, EVALUATE)
    if manifest is None:
        yield Damage(path, f"{_AS_WRITTEN}, got a damaged or edited one", EVALUATE, policy_round)
        return
    inputs = _inputs(run, EVALUATE, policy_round)
    if manifest["inputs"]["policy"] != inputs.get("policy") or manifest["stamp"] != _stamp(
        EVALUATE, manifest, policy_round
    ):
        required = f"the evaluation must be of the policy after {policy_round} rounds"
        yield Damage(path, f"{required}, got one of another policy", EVALUATE, policy_round)
    expected += _named(folder, EVALUATE, policy_round, manifest)


def _altered(expected: list[_Expected]) -> list[Damage]:
    """Return the files that are missing or whose bytes are not those that were written."""
    with ThreadPoolExecutor(_THREADS) as threads:
        digests = list(threads.map(lambda file: file_digest(file.path) if file.path.is_file() else None, expected))
    return [
        Damage(
            file.path,
            f"the file of digest {file.digest[:12]}… is required, got "
            + ("none" if digest is None else f"one of {digest[:12]}… with {file.path.stat().st_size} bytes"),
            file.stage,
            file.number,
        )
        for file, digest in zip(expected, digests, strict=True)
        if digest != file.digest
    ]
