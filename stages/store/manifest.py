"""The manifest of a finished stage: inputs, outputs and cost. Its seal reveals an edit.

A manifest names the digests of its inputs, the stage's parameters, and the digest of every file written; the inputs
of one stage are the outputs of another, so that manifests chain from round to round back to the base policy.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import pyarrow.parquet as pq

from stages.contract.declared_stages import Stage
from stages.disk.files import file_digest, value_digest, write_sealed
from stages.disk.policy_state import POLICY_FILES, STATE, policy_state
from stages.disk.records import ManifestRecord, Prunable, TombstoneRecord, read_record
from stages.disk.tables import shard_numbers, shard_path

LATENTS = ("anchors", "transitions", "completions")
PRUNABLE = frozenset(get_args(Prunable))
"""Outputs of a round that retention may prune."""


def manifest_path(folder: Path, stage: Stage) -> Path:
    """Return the file of a stage's manifest in the folder that the stage writes into."""
    return folder / f"{stage.name}.json"


def stamp_of(stage: Stage, number: int, inputs: Mapping[str, str], parameters: Mapping[str, Any]) -> str:
    """Return the digest of everything that a stage's results depend on; shards and manifest carry it."""
    return value_digest({"stage": stage.name, "number": number, "inputs": inputs, "parameters": parameters})


def write_manifest(folder: Path, stage: Stage, manifest: Mapping[str, Any]) -> None:
    """Write a manifest under its seal."""
    write_sealed(manifest_path(folder, stage), manifest)


def read_manifest(folder: Path, stage: Stage) -> dict[str, Any] | None:
    """Return a stage's manifest; None if it is missing, damaged or edited, or names other outputs than the stage's."""
    manifest = read_record(manifest_path(folder, stage), ManifestRecord)
    fits = manifest and manifest["stage"] == stage.name and manifest["outputs"].keys() == set(stage.outputs)
    return manifest if fits else None


def described(folder: Path) -> dict[str, Any]:
    """Return digest, rows and bytes of an output folder, file by file."""
    known = policy_state(folder).files if (folder / STATE).is_file() else {}
    names = [path.name for path in output_files(folder)]
    files = {name: known.get(name) or file_digest(folder / name) for name in names}
    rows = sum(pq.read_metadata(shard_path(folder, shard)).num_rows for shard in shard_numbers(folder))
    size = sum((folder / name).stat().st_size for name in files)
    return {"digest": value_digest(files), "rows": rows, "bytes": size, "files": files}


def output_files(folder: Path) -> list[Path]:
    """Return the files of an output folder that a stage may have written, in order: shards, or those of a policy."""
    if folder.name == "policy":
        return [path for path in (folder / name for name in POLICY_FILES) if path.is_file()]
    return [shard_path(folder, shard) for shard in shard_numbers(folder)]


def tombstone_path(folder: Path) -> Path:
    """Return the file that lists the pruned outputs of a round."""
    return folder / "pruned.json"


def pruned_outputs(folder: Path) -> frozenset[str]:
    """Return the pruned outputs of a round, from its tombstone; a damaged tombstone names none."""
    return frozenset((_tombstone(folder) or {"outputs": ()})["outputs"])


def is_damaged_tombstone(folder: Path) -> bool:
    """Whether a round has a tombstone that is not as it was written."""
    return tombstone_path(folder).is_file() and _tombstone(folder) is None


def _tombstone(folder: Path) -> dict[str, Any] | None:
    return read_record(tombstone_path(folder), TombstoneRecord)


def write_tombstone(folder: Path, outputs: frozenset[str]) -> None:
    """Write the tombstone of a round's outputs, before they are removed."""
    write_sealed(tombstone_path(folder), {"outputs": sorted(outputs)})


def is_complete(manifest: Mapping[str, Any], folder: Path) -> bool:
    """Whether every file that a manifest names exists, except pruned files."""
    return not missing_outputs(manifest, folder, manifest["outputs"].keys() - pruned_outputs(folder))


def missing_outputs(manifest: Mapping[str, Any], folder: Path, names: Iterable[str]) -> list[Path]:
    """Return the missing files of the named outputs of a manifest."""
    files = [folder / name / file for name in names for file in manifest["outputs"][name]["files"]]
    return [path for path in files if not path.is_file()]
