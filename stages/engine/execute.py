"""Run one stage of one round: skip it if it is done, refuse missing inputs, write a manifest.

A stage is done if its manifest exists and names its current inputs and parameters.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.contract.declared_stages import POLICY_INPUTS, Stage
from stages.contract.executor import StageExecutor
from stages.contract.job import Job
from stages.disk.files import sweep
from stages.disk.policy_state import STATE, policy_state
from stages.disk.tables import shard_evaluations, shard_numbers, shard_path, shard_stamp
from stages.disk.whole_shards import is_as_written
from stages.params.record import Params
from stages.store.input_digests import stage_origins
from stages.store.manifest import described, is_complete, manifest_path, read_manifest, stamp_of, write_manifest
from stages.store.run import WRITER, Run


@dataclass(frozen=True)
class StageResult:
    """The result of a stage call. Example: rollout of round 7, 0.1 s, 32 evaluations, not skipped."""

    stage: str
    manifest: dict[str, Any] | None
    """None while shards are missing."""
    skipped: bool

    def line(self, number: int) -> str:
        """Return a line for a person, such as `score of round 7 done in 0.10 s: rewards 192 rows; 0 evaluations`."""
        if self.manifest is None:
            return f"{self.stage} of round {number}: the requested shards are done, others are still missing."
        rows = ", ".join(f"{table} {out['rows']} rows" for table, out in self.manifest["outputs"].items())
        state = "was done already" if self.skipped else f"done in {self.manifest['seconds']:.2f} s"
        return f"{self.stage} of round {number} {state}: {rows}; {self.manifest['evaluations']} evaluations"


def run_stage(
    run: Run,
    stage: Stage,
    number: int,
    params: Params,
    executor: StageExecutor,
    *,
    shards: Sequence[int] | None = None,
    force: bool = False,
) -> StageResult:
    """Run a stage of a round, or of a policy, unless it is done.

    Args:
        executor: Executes the stage.
        shards: Shards to make; None: all. The manifest is written once every shard exists.
        force: Make existing shards again; the same inputs give the same tables.

    Raises:
        ValueError: If an input is missing, or the stage refuses its input.
    """
    folder, inputs = run.stage_folder(stage, number, params), run.inputs(stage, number)
    return execute(stage, folder, inputs, params, executor, number=number, shards=shards, force=force)


def execute(
    stage: Stage,
    folder: Path,
    inputs: dict[str, Path],
    params: Params,
    executor: StageExecutor,
    *,
    number: int,
    shards: Sequence[int] | None = None,
    force: bool = False,
) -> StageResult:
    """Run a stage on given input folders; write its tables and its manifest into one folder."""
    digests = _digests(stage, inputs, params)
    _require_shards(stage, inputs, shards)
    parameters = stage.parameters(params, number)
    stamp = stamp_of(stage, number, digests, parameters)
    done = _finished(folder, stage, stamp)
    if done and not force:
        return StageResult(stage.name, done, skipped=True)
    outputs = {name: folder / name for name in stage.outputs}
    manifest_path(folder, stage).unlink(missing_ok=True)  # the stage is not done until it is complete again
    sweep(folder)
    _drop_stale(outputs.values(), stamp, force=force)
    began = time.perf_counter()
    spent = executor.do(stage, Job(params, number, inputs, outputs, stamp, shards, force))
    if not _whole(stage, inputs, outputs, stamp):
        return StageResult(stage.name, None, skipped=False)
    manifest = {
        "stage": stage.name,
        "number": number,
        "stamp": stamp,
        "inputs": digests,
        "parameters": parameters,
        "outputs": {name: described(path) for name, path in outputs.items()},
        "seconds": time.perf_counter() - began,
        "cpu_seconds": spent.cpu_seconds,
        "peak_bytes": spent.peak_bytes,
        "evaluations": sum(shard_evaluations(path, n) for path in outputs.values() for n in shard_numbers(path)),
    }
    write_manifest(folder, stage, manifest)
    return StageResult(stage.name, manifest, skipped=False)


def is_done(run: Run, stage: Stage, number: int, params: Params) -> bool:
    """Whether a stage is done with its current inputs and parameters; not if a policy that it reads is gone."""
    inputs = run.inputs(stage, number)
    if any(name in POLICY_INPUTS and not (path / STATE).is_file() for name, path in inputs.items()):
        return False
    digests = _digests(stage, inputs, params)
    stamp = stamp_of(stage, number, digests, stage.parameters(params, number))
    return _finished(run.stage_folder(stage, number, params), stage, stamp) is not None


def _finished(folder: Path, stage: Stage, stamp: str) -> dict[str, Any] | None:
    """Return the manifest of a stage if it has this stamp and all its files exist."""
    manifest = read_manifest(folder, stage)
    return manifest if manifest and manifest["stamp"] == stamp and is_complete(manifest, folder) else None


def _digests(stage: Stage, inputs: dict[str, Path], params: Params) -> dict[str, str]:
    """Return the digest of each input of a stage, by name."""
    return {name: _input_digest(stage, name, path) for name, path in inputs.items()} | stage_origins(stage, params)


def _input_digest(stage: Stage, name: str, path: Path) -> str:
    """Return the digest of an input, from the manifest of the stage that wrote it."""
    if name in POLICY_INPUTS:
        return policy_state(path).digest
    writer = WRITER[name]
    manifest = read_manifest(path.parent, writer)
    if manifest is None:
        raise ValueError(
            f"Stage {stage.name} reads the table {name}, got no finished one in {path.parent}. "
            f"Run stage {writer.name} of this round first."
        )
    return manifest["outputs"][name]["digest"]


def _require_shards(stage: Stage, inputs: dict[str, Path], shards: Sequence[int] | None) -> None:
    """Refuse shards that do not exist, before anything changes."""
    if shards is None:
        return
    if not stage.sharded:
        raise ValueError(f"Stage {stage.name} needs all shards at once, got shards {list(shards)}. Leave them out.")
    numbers = _shards(stage, inputs)
    unknown = sorted(set(shards) - set(numbers))
    if unknown:
        raise ValueError(f"This round has the shards {numbers}, got {unknown}. Name shards that it has.")


def _shards(stage: Stage, inputs: dict[str, Path]) -> list[int]:
    """Return the shards of a sharded stage, one per shard of its first input table."""
    return shard_numbers(inputs[next(name for name in stage.inputs if name not in POLICY_INPUTS)])


def _whole(stage: Stage, inputs: dict[str, Path], outputs: dict[str, Path], stamp: str) -> bool:
    """Whether every shard of a sharded stage exists and has this stamp."""
    if not stage.sharded:
        return True
    return all(shard_stamp(path, n) == stamp for n in _shards(stage, inputs) for path in outputs.values())


def _drop_stale(outputs: Iterable[Path], stamp: str, *, force: bool) -> None:
    """Remove shards that were made from other inputs, or are damaged; by force all are made again anyway."""
    for output in outputs:
        for shard in shard_numbers(output):
            if shard_stamp(output, shard) != stamp or not (force or is_as_written(output, shard)):
                shard_path(output, shard).unlink()
