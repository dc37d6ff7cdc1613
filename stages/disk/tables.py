"""Every Parquet table of a round: columns, key and foreign keys, declared once; read, write, check.

A table is a folder of shards, `part-00000.parquet` and so on. A shard holds whole groups of prompts, is
written completely or not at all, and carries a stamp: the digest of its inputs and parameters.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from g2rpo.messages import shown
from stages.disk.files import atomic
from stages.disk.unpacking import read_ours

TENSOR = "tensor"
"""A column of Arrow's fixed_shape_tensor, fp32 (pictures: uint8); its shape is that of the data."""

_STAMP, _EVALUATIONS = b"g2rpo.stamp", b"g2rpo.evaluations"
_DIGITS = 18  # of a number of evaluations
_SHARD = re.compile(r"part-(\d{5})\.parquet")


@dataclass(frozen=True)
class Table:
    """A declared table. Example: `PROMPTS.key == ("prompt_id",)`."""

    name: str
    columns: Mapping[str, pa.DataType | str]
    key: tuple[str, ...]
    parents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Foreign keys: parent table -> the columns that must match one of its rows."""


_SUMMAND = pa.struct(
    {"reward": pa.string(), "granularity": pa.int32()}
    | dict.fromkeys(("standardised", "weight", "divisor", "group_mean", "group_std"), pa.float64())
    | {"floored": pa.bool_()}
)

_PROMPT = {"prompt_id": pa.string()}
_BRANCH = _PROMPT | {"window": pa.int32(), "branch": pa.int32()}
SHARED = -1
_ORIGIN = {"origin": pa.int32()}
"""The branch that the latents belong to; SHARED if they belong to the group."""
_LEVELS = {"sigma": pa.float64(), "sigma_next": pa.float64()}

TEXTS = Table(
    "texts",
    dict.fromkeys(("id", "text", "negative_text", "metadata"), pa.string()) | {"source_picture": pa.binary()},
    key=("id",),
)
"""A list of prompts, one row per record. Metadata is a JSON object, `{}` for none; an empty negative text or source
picture means none. No family reads the last two yet."""

EMBEDDINGS = Table(
    "embeddings",
    dict.fromkeys(("name", "text", "dtype"), pa.string()) | {"shape": pa.list_(pa.int32()), "values": pa.binary()},
    key=("name",),
)
"""The output of the text encoders for one text: the bytes of each tensor of its condition."""

PROMPTS = Table(
    "prompts",
    _PROMPT | {"text": pa.string(), "split": pa.string(), "metadata": pa.string(), "noise_seed": pa.int64()},
    key=("prompt_id",),
)
ANCHORS = Table(
    "anchors",
    _PROMPT | _ORIGIN | {"step": pa.int32()} | _LEVELS | {"latents": TENSOR, "velocity": TENSOR},
    key=("prompt_id", "origin", "step"),
    parents={"prompts": ("prompt_id",)},
)
TRANSITIONS = Table(
    "transitions",
    _BRANCH
    | {"step": pa.int32()}
    | _ORIGIN
    | {"seed": pa.int64()}
    | _LEVELS
    | {"log_prob": pa.float32(), "next_latents": TENSOR},
    key=("prompt_id", "window", "branch", "step"),
    parents={"prompts": ("prompt_id",), "anchors": ("prompt_id", "origin", "step")},
)
COMPLETIONS = Table(
    "completions",
    _BRANCH | {"granularity": pa.int32(), "evaluations": pa.int64(), "latents": TENSOR},
    key=("prompt_id", "window", "branch", "granularity"),
    parents={"transitions": ("prompt_id", "window", "branch")},
)
DIVERSITY = Table(
    "diversity",
    _PROMPT | {"window": pa.int32(), "granularity": pa.int32(), "value": pa.float64()},
    key=("prompt_id", "window", "granularity"),
    parents={"completions": ("prompt_id", "window", "granularity")},
)
"""How far apart the pictures of a group lie, in latent units; it stays when the latents are pruned."""
REWARDS = Table(
    "rewards",
    _BRANCH | {"granularity": pa.int32(), "reward": pa.string(), "value": pa.float64()},
    key=("prompt_id", "window", "branch", "granularity", "reward"),
    parents={"completions": ("prompt_id", "window", "branch", "granularity")},
)
ADVANTAGES = Table(
    "advantages",
    _BRANCH | {"advantage": pa.float64(), "clamped": pa.bool_(), "summands": pa.list_(_SUMMAND)},
    key=("prompt_id", "window", "branch"),
    parents={"rewards": ("prompt_id", "window", "branch")},
)
"""An advantage is the sum of weight times standardised, clamped; standardised is (value - group_mean) / divisor;
floored is true if the divisor is not the group's own spread."""
OLD_LOG_PROBS = Table(
    "old_log_probs",
    _BRANCH | {"step": pa.int32(), "log_prob_old": pa.float32()},
    key=("prompt_id", "window", "branch", "step"),
    parents={"transitions": ("prompt_id", "window", "branch", "step")},
)
UPDATES = Table(
    "updates",
    {"optimizer_step": pa.int64()}
    | dict.fromkeys(("loss", "ratio_mean", "ratio_min", "ratio_max", "clip_frac", "kl"), pa.float64())
    | dict.fromkeys(("grad_norm", "learning_rate", "log_prob_gap"), pa.float64()),
    key=("optimizer_step",),
)
EVALUATIONS = Table(
    "evaluations",
    {"policy_round": pa.int32()}
    | _PROMPT
    | {"num_steps": pa.int32(), "reward": pa.string(), "text": pa.string(), "value": pa.float64()},
    key=("policy_round", "prompt_id", "num_steps", "reward"),
)
PICTURES = Table(
    "pictures",
    {"policy_round": pa.int32()} | _PROMPT | {"num_steps": pa.int32(), "text": pa.string(), "image": TENSOR},
    key=("policy_round", "prompt_id", "num_steps"),
)

_ROUND = (PROMPTS, ANCHORS, TRANSITIONS, COMPLETIONS, DIVERSITY, REWARDS, ADVANTAGES, OLD_LOG_PROBS, UPDATES)
TABLES = {table.name: table for table in (TEXTS, *_ROUND, EVALUATIONS, PICTURES)}


def shard_path(folder: Path, shard: int) -> Path:
    """Return the file of one shard of the table in a folder."""
    return folder / f"part-{shard:05d}.parquet"


def shard_numbers(folder: Path) -> list[int]:
    """Return the numbers of the existing shards, ascending."""
    names = (_SHARD.fullmatch(path.name) for path in folder.glob("part-*.parquet"))
    return sorted(int(name[1]) for name in names if name)


def arrow(table: Table, columns: Mapping[str, Any]) -> pa.Table:
    """Return columns as an Arrow table of the declared types; a tensor column is a NumPy array, shape (rows, ...).

    Raises:
        ValueError: If columns are missing or unknown, differ in length, hold nulls or repeat a key.
    """
    if set(columns) != set(table.columns):
        odd = sorted(set(columns) ^ set(table.columns))
        raise ValueError(f"Table {table.name} has the columns {list(table.columns)}; these differ: {odd}.")
    arrays = {
        name: _tensor_array(columns[name]) if kind == TENSOR else pa.array(columns[name], type=kind)
        for name, kind in table.columns.items()
    }
    rows = pa.table(arrays)
    check_rows(table, rows)
    return rows


def check_rows(table: Table, rows: pa.Table) -> None:
    """Refuse rows that are not as the table is declared.

    Raises:
        ValueError: If columns are missing or unknown or of another type, hold nulls or repeat a key.
    """
    names = rows.column_names
    if names != list(table.columns) or not all(_is_of(rows[name].type, table.columns[name]) for name in names):
        raise ValueError(f"Table {table.name} has the columns {dict(table.columns)}, got {rows.schema.types}.")
    for name in names:
        if rows[name].null_count:
            raise ValueError(f"Table {table.name} holds no nulls, got {rows[name].null_count} in {name}.")
    if rows.group_by(list(table.key)).aggregate([]).num_rows < rows.num_rows:
        raise ValueError(f"Table {table.name} holds each key {table.key} once, got one twice.")


def write_shard(folder: Path, shard: int, table: Table, rows: pa.Table, *, stamp: str, evaluations: int = 0) -> None:
    """Write one shard, whole or not at all, uncompressed, with its stamp and its transformer evaluations."""
    with atomic(shard_path(folder, shard)) as temporary:
        encode_shard(temporary, table, rows, stamp=stamp, evaluations=evaluations)


def encode_shard(target: Path | BinaryIO, table: Table, rows: pa.Table, *, stamp: str, evaluations: int) -> None:
    """Write the bytes of a shard; the same rows give the same bytes."""
    stamped = rows.replace_schema_metadata({_STAMP: stamp.encode(), _EVALUATIONS: str(evaluations).encode()})
    scalars = [name for name, kind in table.columns.items() if kind == pa.string()]
    pq.write_table(
        stamped,
        target,
        compression="none",
        use_dictionary=scalars,  # its stub knows no list
        write_page_checksum=True,
    )


def shard_stamp(folder: Path, shard: int) -> str | None:
    """Return the stamp of a shard; None if there is no complete shard."""
    try:
        return _metadata(folder, shard).get(_STAMP, b"").decode()
    except (OSError, pa.ArrowException, UnicodeDecodeError):
        return None


def shard_evaluations(folder: Path, shard: int) -> int:
    """Return the transformer evaluations that a shard cost.

    Raises:
        ValueError: If it says no number.
    """
    told = _metadata(folder, shard).get(_EVALUATIONS, b"0")
    if not (told.isdigit() and len(told) <= _DIGITS):
        path = shard_path(folder, shard)
        raise ValueError(f"{path} must tell its number of evaluations, got {shown(told)}. Run `g2rpo repair`.")
    return int(told)


def _metadata(folder: Path, shard: int) -> dict[bytes, bytes]:
    return pq.read_schema(shard_path(folder, shard)).metadata or {}


def read_shard(folder: Path, shard: int, table: Table | None = None) -> pa.Table:
    """Return one shard, checked against its table.

    Args:
        folder: The folder of the table.
        shard: Its number.
        table: The table; None: that of the folder's name, if there is one.

    Raises:
        ValueError: If it is missing or damaged, has no row, or other columns than its table.
    """
    table, path = table or TABLES.get(folder.name), shard_path(folder, shard)
    if not path.is_file():
        raise ValueError(f"Shard {shard} of {folder.name} is required, got no file {path}. Run its stage.")
    try:
        rows = read_ours(path)
        if table:
            check_rows(table, rows)
            if not rows.num_rows:
                raise ValueError("no row")
        return rows
    except (OSError, pa.ArrowException, ValueError) as error:
        raise ValueError(
            f"{path} must be as it was written, got a damaged file: {error}. Run `g2rpo repair --run KEY`: it "
            "rebuilds damaged files."
        ) from error


def read_table(folder: Path) -> pa.Table:
    """Return all shards of a table, one after the other.

    Raises:
        ValueError: If there is none.
    """
    numbers = shard_numbers(folder)
    if not numbers:
        raise ValueError(
            f"Table {folder.name} is required, got no shard in {folder}. Run its stage; "
            "with --force, for a round whose latents were pruned."
        )
    return pa.concat_tables([read_shard(folder, number) for number in numbers])


def tensor(rows: pa.Table, column: str) -> np.ndarray[Any, Any]:
    """Return a tensor column as a writable NumPy array, shape (rows, *shape of one tensor)."""
    return rows[column].combine_chunks().to_numpy_ndarray().copy()


def where(rows: pa.Table, **equal: Any) -> pa.Table:
    """Return the rows whose columns have the given values."""
    for column, value in equal.items():
        rows = rows.filter(pc.field(column) == value)
    return rows


def _is_of(kind: pa.DataType, declared: pa.DataType | str) -> bool:
    """Whether a column's type is the declared one; a tensor holds fp32, or the bytes of pictures."""
    if declared == TENSOR:
        return isinstance(kind, pa.FixedShapeTensorType) and kind.value_type in (pa.float32(), pa.uint8())
    return kind == declared


def _tensor_array(values: np.ndarray[Any, Any]) -> pa.Array:
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(values))
