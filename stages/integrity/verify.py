"""Checks that a run is as it was written: each file against its manifest, each manifest against those before."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.contract.declared_stages import EVALUATE, POLICY_INPUTS, ROUND_STAGES, Stage
from stages.disk.files import file_digest, value_digest
from stages.disk.policy_state import STATE, policy_state
from stages.disk.records import MetricsRecord, read_record
from stages.disk.tables import shard_numbers, shard_path
from stages.disk.whole_shards import is_as_written
from stages.integrity.damage import Damage
from stages.integrity.own_files import damaged_own_files
from stages.params.record import Params
from stages.store.manifest import (
    is_damaged_tombstone,
    manifest_path,
    output_files,
    pruned_outputs,
    read_manifest,
    stamp_of,
    tombstone_path,
)
from stages.store.run import WRITER, Run

_AS_WRITTEN = "the manifest must be as it was written"
_THREADS = 4  # hashing leaves Python's lock


@dataclass(frozen=True)
class _Expected:
    """A file and its digest in the manifest."""

    path: Path
    digest: str
    stage: Stage
    number: int


def verify(run: Run, params: Params | None = None) -> list[Damage]:
    """Return every file that is damaged, missing or of another run, in the order of the run; change nothing.

    In an unfinished round it checks the finished stages.

    Args:
        run: The run.
        params: The parameters that this process has just stored with `Run.remember`; None reads them.
    """
    return damaged_own_files(run, params) or _Check(run, params or run.params()).found()


class _Check:
    """One pass over the rounds and evaluations of a run whose own files are whole."""

    def __init__(self, run: Run, params: Params) -> None:
        self._run, self._params = run, params
        self._known = run.fingerprint.values
        self._num_finished = run.num_finished
        self._expected: list[_Expected] = []

    def found(self) -> list[Damage]:
        found: list[Damage] = []
        for number in range(self._num_begun()):
            for stage in ROUND_STAGES:
                found += self._stage(stage, number)
            found += self._metrics_and_tombstone(number)
        for policy_round, split in self._run.evaluations():
            found += self._evaluation(policy_round, split)
        return [*found, *_altered(self._expected)]

    def _num_begun(self) -> int:
        """Return the number of finished and begun rounds; one round is begun, or with staleness two."""
        number = self._num_finished
        while self._run.round_folder(number).is_dir():
            number += 1
        return number

    def _stage(self, stage: Stage, number: int) -> Iterator[Damage]:
        """Check a stage's manifest and the names of its files; note their required digests."""
        folder = self._run.round_folder(number)
        path, manifest = manifest_path(folder, stage), read_manifest(folder, stage)
        if manifest is None:
            if path.is_file():
                yield Damage(path, f"{_AS_WRITTEN}, got a damaged or edited one", stage, number)
            elif number < self._num_finished:
                yield Damage(path, "a finished round must have this manifest, got none", stage, number)
            else:
                yield from _unreadable(folder, stage, number)
            return
        inputs = self._inputs(stage, number)
        odd = [name for name, digest in inputs.items() if manifest["inputs"].get(name) != digest]
        if odd:
            required = f"the manifest must be made from this round's {', '.join(sorted(odd))}"
            yield Damage(path, f"{required}, got one of another run, round or state", stage, number)
        elif manifest["parameters"] != stage.parameters(self._params, number) or not _is_stamped(
            manifest, stage, number
        ):
            required = "the manifest must be of this run's parameters and of this round"
            yield Damage(path, f"{required}, got one of another run or round", stage, number)
        yield from self._outputs(folder, stage, number, manifest)

    def _inputs(self, stage: Stage, number: int) -> dict[str, str]:
        """Return the digests that a stage's inputs must have, as far as they are known."""
        digests: dict[str, str] = {}
        for name, path in self._run.inputs(stage, number).items():
            if name in POLICY_INPUTS:
                digest = _policy_digest(path)
            else:
                writer = read_manifest(path.parent, WRITER[name])
                digest = writer["outputs"][name]["digest"] if writer else None
            if digest:
                digests[name] = digest
        split = self._params.prompts.split
        origins = {"prompts": [f"prompts/{split}"], "rewards": [f"rewards/{n}" for n in self._params.score.rewards]}
        named = [name for kind in stage.origins for name in origins[kind]] if stage != EVALUATE else []
        return digests | {name: self._known[f"origins.{name}"] for name in named}

    def _outputs(self, folder: Path, stage: Stage, number: int, manifest: Mapping[str, Any]) -> Iterator[Damage]:
        """Check the names of a finished stage's files; note their required digests."""
        outputs, pruned = manifest["outputs"], pruned_outputs(folder)
        if any(out["digest"] != value_digest(out["files"]) for out in outputs.values()):
            path = manifest_path(folder, stage)
            yield Damage(path, f"{_AS_WRITTEN}, got one with inconsistent digests", stage, number)
        for name, out in outputs.items():
            for file, digest in out["files"].items():
                path = folder / name / file
                if path.is_file() or name not in pruned or file == STATE:  # the state of a pruned policy stays
                    self._expected.append(_Expected(path, digest, stage, number))
            for path in output_files(folder / name):
                if path.name not in out["files"]:
                    what = "only files that the stage wrote may be here, since readers read all of them; got another"
                    yield Damage(path, what, None, number)

    def _metrics_and_tombstone(self, number: int) -> Iterator[Damage]:
        metrics, folder = self._run.metrics_path(number), self._run.round_folder(number)
        if number < self._num_finished and (read_record(metrics, MetricsRecord) or {}).get("round") != number + 1:
            yield Damage(metrics, "this round's metrics are required as they were written, got others", None, number)
        if is_damaged_tombstone(folder):
            what = "it must be as it was written, got a damaged or edited one"
            yield Damage(tombstone_path(folder), what, None, number)

    def _evaluation(self, policy_round: int, split: str) -> Iterator[Damage]:
        folder = self._run.evaluation_folder(policy_round, split)
        path, manifest = manifest_path(folder, EVALUATE), read_manifest(folder, EVALUATE)
        if manifest is None:
            yield Damage(path, f"{_AS_WRITTEN}, got a damaged or edited one", EVALUATE, policy_round)
            return
        inputs, parameters = self._inputs(EVALUATE, policy_round), EVALUATE.parameters(self._params, policy_round)
        if not (
            manifest["inputs"].items() >= inputs.items()
            and manifest["parameters"].keys() == parameters.keys()
            and manifest["parameters"] | {"evaluate": parameters["evaluate"]} == parameters  # that may have changed
            and manifest["parameters"]["evaluate"].get("split") == split
            and _is_stamped(manifest, EVALUATE, policy_round)
        ):
            required = f"an evaluation of this run's policy after {policy_round} rounds on {split} is required"
            yield Damage(path, f"{required}, got another", EVALUATE, policy_round)
        yield from self._outputs(folder, EVALUATE, policy_round, manifest)


def _policy_digest(folder: Path) -> str | None:
    try:
        return policy_state(folder).digest
    except ValueError:
        return None  # missing or damaged: the check of its update's manifest reports it


def _is_stamped(manifest: Mapping[str, Any], stage: Stage, number: int) -> bool:
    """Whether a manifest's stamp matches its own inputs and parameters in this round."""
    return manifest["stamp"] == stamp_of(stage, number, manifest["inputs"], manifest["parameters"])


def _unreadable(folder: Path, stage: Stage, number: int) -> Iterator[Damage]:
    """Yield shards of an unfinished stage that are no whole tables, or not the bytes that were written."""
    for output in stage.outputs:
        for shard in shard_numbers(folder / output):
            if not is_as_written(folder / output, shard):
                path = shard_path(folder / output, shard)
                yield Damage(path, "a whole Parquet file is required, got a damaged one", stage, number)


def _altered(expected: list[_Expected]) -> list[Damage]:
    """Return the files that are missing or whose bytes have changed."""
    with ThreadPoolExecutor(_THREADS) as threads:
        digests = list(threads.map(lambda file: file_digest(file.path) if file.path.is_file() else None, expected))
    return [
        Damage(
            file.path,
            f"the file with digest {file.digest[:12]}… is required, got "
            + ("none" if digest is None else f"one with {digest[:12]}… and {file.path.stat().st_size} bytes"),
            file.stage,
            file.number,
        )
        for file, digest in zip(expected, digests, strict=True)
        if digest != file.digest
    ]
