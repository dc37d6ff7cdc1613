"""Run one stage of one round of a run: skip what is done, refuse what cannot be, leave a manifest.

A stage is done when its manifest is there and names the inputs and parameters that it would have now.
"""

import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from stages.files import file_digest, read_json, value_digest, write_json
from stages.job import Job
from stages.params import Params
from stages.policy_files import policy_state
from stages.registry import POLICY_INPUTS, ROUND_STAGES, Stage
from stages.resources import Resources
from stages.store import Run
from stages.tables import shard_evaluations, shard_numbers, shard_path, shard_stamp


@dataclass(frozen=True)
class Done:
    """What became of a stage call. Example: rollout of round 7, 0.1 s, 32 evaluations, not skipped."""

    stage: str
    manifest: dict[str, Any] | None
    """None while shards are still missing."""
    skipped: bool


_WRITER = {table: stage.name for stage in ROUND_STAGES for table in stage.outputs}


def run_stage(
    run: Run,
    stage: Stage,
    number: int,
    params: Params,
    resources: Resources,
    *,
    shards: Sequence[int] | None = None,
    force: bool = False,
) -> Done:
    """Run a stage of a round, or of a policy, or find that it has been run.

    Args:
        shards: Shards to make; None is all. The manifest is written once every shard is there.
        force: Make shards again that are there already; the same inputs give the same tables.

    Raises:
        ValueError: If an input is missing, or the stage refuses its input.
    """
    folder, inputs = run.stage_folder(stage, number, params), run.inputs(stage, number)
    return execute(stage, folder, inputs, params, resources, number=number, shards=shards, force=force)


def execute(
    stage: Stage,
    folder: Path,
    inputs: dict[str, Path],
    params: Params,
    resources: Resources,
    *,
    number: int,
    shards: Sequence[int] | None = None,
    force: bool = False,
) -> Done:
    """Run a stage on given input folders, writing its tables and its manifest into one folder."""
    digests = {name: _input_digest(stage, name, path) for name, path in inputs.items()}
    parameters = stage.parameters(params)
    stamp = value_digest({"stage": stage.name, "number": number, "inputs": digests, "parameters": parameters})
    manifest_path = folder / f"{stage.name}.json"
    if manifest_path.is_file() and not force:
        manifest = read_json(manifest_path)
        if manifest["stamp"] == stamp and _all_there(manifest, folder):
            return Done(stage.name, manifest, skipped=True)
    if shards is not None and not stage.sharded:
        raise ValueError(f"Stage {stage.name} needs all shards at once, got shards {list(shards)}. Leave them out.")
    outputs = {name: folder / name for name in stage.outputs}
    manifest_path.unlink(missing_ok=True)  # from here until it is whole again, the stage is not done
    _sweep(folder, outputs.values(), stamp)
    began, cpu = time.perf_counter(), time.process_time()
    job = Job(params, number, inputs, outputs, stamp, shards, force)
    stage.load()(job, resources)
    if not _whole(stage, inputs, outputs, stamp):
        return Done(stage.name, None, skipped=False)
    manifest = {
        "stage": stage.name,
        "stamp": stamp,
        "inputs": digests,
        "parameters": parameters,
        "outputs": {name: _described(path) for name, path in outputs.items()},
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu,
        "evaluations": sum(shard_evaluations(path, n) for path in outputs.values() for n in shard_numbers(path)),
    }
    write_json(manifest_path, manifest)
    return Done(stage.name, manifest, skipped=False)


def _input_digest(stage: Stage, name: str, path: Path) -> str:
    """Return the digest of an input, as the manifest of the stage that wrote it has it."""
    if name in POLICY_INPUTS:
        return policy_state(path).digest
    writer = _WRITER[name]
    manifest = path.parent / f"{writer}.json"
    if not manifest.is_file():
        raise ValueError(
            f"Stage {stage.name} reads the table {name}, got no finished one in {path.parent}. "
            f"Run stage {writer} of this round first."
        )
    return read_json(manifest)["outputs"][name]["digest"]


def _whole(stage: Stage, inputs: dict[str, Path], outputs: dict[str, Path], stamp: str) -> bool:
    """Whether every shard of a sharded stage is there, made from the present inputs."""
    if not stage.sharded:
        return True
    table = next(name for name in stage.inputs if name not in POLICY_INPUTS)
    return all(shard_stamp(path, shard) == stamp for shard in shard_numbers(inputs[table]) for path in outputs.values())


def _all_there(manifest: dict[str, Any], folder: Path) -> bool:
    """Whether every file that a manifest names is there."""
    return all((folder / name / file).is_file() for name, out in manifest["outputs"].items() for file in out["files"])


def _sweep(folder: Path, outputs: Iterable[Path], stamp: str) -> None:
    """Remove what a killed process left half written, and shards that were made from other inputs."""
    for path in folder.rglob(".*.tmp"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for output in outputs:
        for shard in shard_numbers(output):
            if shard_stamp(output, shard) != stamp:
                shard_path(output, shard).unlink()


def _described(folder: Path) -> dict[str, Any]:
    """Return digest, rows and bytes of an output folder, file by file."""
    files = {path.name: file_digest(path) for path in sorted(folder.iterdir()) if not path.name.startswith(".")}
    rows = sum(pq.read_metadata(shard_path(folder, shard)).num_rows for shard in shard_numbers(folder))
    size = sum((folder / name).stat().st_size for name in files)
    return {"digest": value_digest(files), "rows": rows, "bytes": size, "files": files}
