"""A file of prompts, of any kind: its texts, and its other fields as metadata.

    .txt                    one prompt per line; blank lines are skipped
    .jsonl .csv .parquet    objects, or rows, with one field for the text: `prompt`, `text` or `caption`
    .json                   a list of such objects, or of texts; or JSON lines
    part-00000.parquet      as `g2rpo prompts` and `g2rpo import-prompts` write it

Metadata are the other fields, as JSON; columns of bytes (pictures) are left out.
"""

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.disk.files import value_digest
from stages.disk.tables import read_shard, shard_stamp

TEXT_FIELDS = ("prompt", "text", "caption")
"""Fields that may hold the text of a row; it must have exactly one of them."""

NO_METADATA = "{}"

_OWN = re.compile(r"part-(\d{5})\.parquet")
_JSON = json.JSONEncoder(ensure_ascii=False, sort_keys=True, allow_nan=False, default=str)


@dataclass(frozen=True)
class PromptList:
    """The prompts of a split in their order. Example: `PromptList(("a cat",), ('{"style": "photo"}',))`."""

    texts: tuple[str, ...]
    metadata: tuple[str, ...]
    """A JSON object for each text, `{}` for none."""

    @classmethod
    def plain(cls, texts: Iterable[str]) -> "PromptList":
        """Return texts without metadata."""
        kept = tuple(texts)
        return cls(kept, (NO_METADATA,) * len(kept))

    @cached_property
    def digest(self) -> str:
        """The digest of texts and metadata; without metadata, of the texts alone."""
        without = all(entry == NO_METADATA for entry in self.metadata)
        return value_digest(self.texts if without else {"texts": self.texts, "metadata": self.metadata})

    def only(self, rows: Iterable[int]) -> "PromptList":
        """Return the prompts of some rows, in the order of the rows."""
        indices = list(rows)
        return PromptList(tuple(self.texts[i] for i in indices), tuple(self.metadata[i] for i in indices))


def read_file(path: Path, field: str | None = None) -> PromptList:
    """Return the prompts of one file; a missing text is "".

    Args:
        path: The file.
        field: The field of the text in rows that are objects; None: `prompt`, `text` or `caption`.

    Raises:
        ValueError: With the file and the line, if it is not of its kind or has no clear text field.
    """
    reader = READERS.get(path.suffix[1:])
    if reader is None:
        raise ValueError(f"a file .{', .'.join(READERS)} is required, got {path}. Convert it to one of these.")
    prompts = reader(path, field)
    try:
        "".join(prompts.texts + prompts.metadata).encode()
    except UnicodeEncodeError as error:
        near = error.object[max(error.start - 20, 0) : error.end]
        raise ValueError(f"{path}: whole characters are required, got half of one at the end of {near!r}.") from None
    return prompts


def _decoded(path: Path) -> str:
    """Return a file's text without BOM, its lines ended by a line feed."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"line {line} of {path}: UTF-8 is required, got byte 0x{raw[error.start]:02x}. Save the file as UTF-8."
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _plain(path: Path, field: str | None) -> PromptList:
    return PromptList.plain(line for line in map(str.strip, _decoded(path).split("\n")) if line)


def _jsonl(path: Path, field: str | None) -> PromptList:
    lines = enumerate(_decoded(path).split("\n"), 1)
    return _from_rows(path, ((n, _loaded(line, path, n)) for n, line in lines if line.strip()), field)


def _json(path: Path, field: str | None) -> PromptList:
    """Return the prompts of one JSON list; a file that does not begin with a list is read as JSON lines."""
    text = _decoded(path)
    if not text.lstrip().startswith("["):
        return _jsonl(path, field)
    try:
        return _from_rows(path, enumerate(json.loads(text), 1), field, unit="row")
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: a JSON list of objects or texts is required, got: {error}.") from None


def _loaded(line: str, path: Path, number: int) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number} of {path}: a JSON object is required, got: {error}.") from None


def _csv(path: Path, field: str | None) -> PromptList:
    """Return the prompts of a CSV file with a header; all values stay texts."""
    rows = csv.reader(io.StringIO(_decoded(path), newline=""), strict=True)
    header = next(rows, [])

    def objects() -> Iterator[tuple[int, dict[str, str]]]:
        try:
            for row in rows:
                if row and len(row) != len(header):
                    raise csv.Error(f"{len(row)} values under {len(header)} names")
                if row:
                    yield rows.line_num, dict(zip(header, row, strict=True))
        except csv.Error as error:
            raise ValueError(f"line {rows.line_num} of {path}: a row of CSV is required, got: {error}.") from None

    if len(set(header)) < len(header):
        raise ValueError(f"{path}: a header of distinct names is required, got {', '.join(header)}.")
    return _from_rows(path, objects(), field)


def _parquet(path: Path, field: str | None) -> PromptList:
    own = _OWN.fullmatch(path.name)
    if own and shard_stamp(path.parent, int(own[1])):
        return _own_list(read_shard(path.parent, int(own[1])))
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        schema = file.schema_arrow
        key = _text_field(schema.names, field, str(path))
        others = [f.name for f in schema if f.name not in (key, "__index_level_0__") and "binary" not in str(f.type)]
        rows = file.read([key, *others], use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path}: a whole Parquet file is required, got: {error}. Fetch it again.") from error
    if not _is_text(schema.field(key).type):
        raise ValueError(f"{path}: texts are required in {key}, got {schema.field(key).type}. Name another field.")
    texts = (text or "" for text in rows[key].to_pylist())
    if not others:
        return PromptList.plain(texts)
    return PromptList(tuple(texts), tuple(_encoded(row) for row in rows.select(others).to_pylist()))


def _own_list(rows: pa.Table) -> PromptList:
    """Return the prompts of a list that we wrote; the first such lists had no metadata."""
    texts = rows["text"].to_pylist()
    if "metadata" not in rows.column_names:
        return PromptList.plain(texts)
    return PromptList(tuple(texts), tuple(rows["metadata"].to_pylist()))


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _from_rows(path: Path, rows: Iterable[tuple[int, Any]], field: str | None, unit: str = "line") -> PromptList:
    """Return the prompts of numbered rows: texts, or objects with one text field."""
    texts: list[str] = []
    metadata: list[str] = []
    used: str | None = None
    for number, row in rows:
        if isinstance(row, str):
            text, rest = row, {}
        elif isinstance(row, dict):
            key = _text_field(row, field, f"{unit} {number} of {path}")
            if used not in (None, key):
                raise ValueError(f"{unit} {number} of {path}: the prompt is required under {used} again, got {key}.")
            used, text = key, row[key]
            rest = {name: value for name, value in row.items() if name != key}
        else:
            text, rest = row, {}
        if not isinstance(text, str | None):
            raise ValueError(f"{unit} {number} of {path}: a text is required, got {text!r}.")
        texts.append(text or "")
        metadata.append(_encoded(rest) if rest else NO_METADATA)
    return PromptList(tuple(texts), tuple(metadata))


def _text_field(names: Iterable[str], field: str | None, where: str) -> str:
    """Return the field of the text."""
    present = [name for name in ((field,) if field else TEXT_FIELDS) if name in names]
    if len(present) == 1:
        return present[0]
    required = field or f"one of {', '.join(TEXT_FIELDS)}"
    raise ValueError(
        f"{where}: the prompt is required under {required}, got {' and '.join(present or names) or 'nothing'}. Rename "
        "the field, or convert the lists by `g2rpo import-prompts --field NAME`."
    )


def _encoded(metadata: dict[str, Any]) -> str:
    """Return metadata as JSON with sorted keys; types unknown to JSON become texts, NaN becomes null."""
    try:
        return _JSON.encode(metadata)
    except ValueError:
        return _JSON.encode(_without_nan(metadata))


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


READERS: dict[str, Callable[[Path, str | None], PromptList]] = {
    "parquet": _parquet,
    "jsonl": _jsonl,
    "json": _json,
    "csv": _csv,
    "txt": _plain,
}
"""The reader of each kind of file, by suffix."""
