"""A file of prompts, of any kind: its texts, and its other fields as metadata.

    .txt                    one prompt per line; blank lines are skipped
    .jsonl .parquet         objects, or rows, with one field for the text: `prompt`, `text` or `caption`
    .csv .tsv               such rows under a header, with commas or tabs
    .json                   a list of such objects, or of texts; or one object, or JSON lines
    part-00000.parquet      as `g2rpo prompts` and `g2rpo import-prompts` write it

The suffix may be in capitals. Metadata are the other fields, as JSON; columns of bytes (pictures) are left out.
"""

import csv
import io
import json
import math
import re
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from g2rpo.messages import listed, plain, shown
from g2rpo.model_files.reading import is_deep
from stages.disk.files import value_digest
from stages.disk.tables import read_shard, shard_stamp
from stages.disk.unpacking import TooLargeError, read_bounded
from stages.params.decoding import control_in, decoded

TEXT_FIELDS = ("prompt", "text", "caption")
"""Fields that may hold the text of a row; it must have exactly one of them."""

NO_METADATA = "{}"

LONGEST = 20_000
"""Characters of a prompt; the longest that an encoder reads, 512 tokens, has some 3,000."""
_MOST_BYTES = 2**29
"""Of a file that is read whole, which takes up to twenty times its size, or of the values in one of Parquet; the 1.8
million prompts of DiffusionDB have 300 MB."""
_DEEPEST = 20
"""Lists and objects within each other in metadata; every later reader of a table has to follow them."""

_OWN = re.compile(r"part-(\d{5})\.parquet")
_BLANK = ("Zs", "Zl", "Zp", "Cc", "Cf")
"""Unicode's categories of what leaves no ink: spaces, control and format characters."""
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
    reader = READERS.get(path.suffix[1:].lower())
    if reader is None:
        raise ValueError(f"a file .{', .'.join(READERS)} is required, got {path}. Convert it to one of these.")
    try:
        _require_regular(path)
        prompts = reader(path, field)
    except OSError as error:
        raise ValueError(f"{path}: a file that can be read is required, got: {error.strerror}. Correct it.") from None
    _check_texts(path, prompts.texts)
    try:
        "".join(prompts.texts + prompts.metadata).encode()
    except UnicodeEncodeError as error:
        near = error.object[max(error.start - 20, 0) : error.end]
        raise ValueError(
            f"{path}: whole characters are required, got half of one at the end of {shown(near)}."
        ) from None
    return prompts


def is_blank(text: str) -> bool:
    """Return whether a text has nothing to read: white space and marks without width, as U+200B."""
    return not any(unicodedata.category(c) not in _BLANK for c in text)


def _require_regular(path: Path) -> None:
    """Refuse a device, a pipe or a folder: reading one may never end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{path}: a regular file is required, got a folder, a pipe or a device. Remove it.")


def _check_texts(path: Path, texts: Sequence[str]) -> None:
    for number, text in enumerate(texts, 1):
        if len(text) > LONGEST:
            raise ValueError(
                f"prompt {number} of {path}: at most {LONGEST:,} characters are required, got {len(text):,}: "
                f"{shown(text)}. Shorten it, or divide it into lines."
            )
        if control := control_in(text):
            raise ValueError(
                f"prompt {number} of {path}: text without control characters is required, got U+{ord(control):04X} in "
                f"{shown(text)}. Remove it."
            )


def _decoded(path: Path) -> str:
    if (size := path.stat().st_size) > _MOST_BYTES:
        raise ValueError(
            f"{path}: at most {_MOST_BYTES:,} bytes are required, got {size:,}. Divide it into shards, such as "
            f"train-00000-of-00002{path.suffix}."
        )
    return decoded(path.read_bytes(), str(path))


def _lines(path: Path, field: str | None) -> PromptList:
    return PromptList.plain(line for line in map(str.strip, _decoded(path).split("\n")) if not is_blank(line))


def _jsonl(path: Path, field: str | None) -> PromptList:
    lines = enumerate(_decoded(path).split("\n"), 1)
    return _from_rows(path, ((n, _loaded(line, f"line {n} of {path}")) for n, line in lines if line.strip()), field)


def _json(path: Path, field: str | None) -> PromptList:
    """Return the prompts of one JSON list or of one object; other files are read as JSON lines."""
    text = _decoded(path)
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.lstrip().startswith("["):
            at = f"line {error.lineno} of {path}" if isinstance(error, json.JSONDecodeError) else path
            raise ValueError(f"{at}: a JSON list of objects or texts is required, got: {error}. Correct it.") from None
        return _jsonl(path, field)
    return _from_rows(path, enumerate(rows if isinstance(rows, list) else [rows], 1), field, unit="row")


def _loaded(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: a JSON object is required, got: {error}. Write each on one line.") from None


def _table(delimiter: str, path: Path, field: str | None) -> PromptList:
    """Return the prompts of a file of rows under a header; all values stay texts."""
    rows = csv.reader(io.StringIO(_decoded(path), newline=""), strict=True, delimiter=delimiter)

    def objects() -> Iterator[tuple[int, dict[str, str]]]:
        try:
            header.extend(next(rows, []))
            if len(set(header)) < len(header):
                raise csv.Error(f"a header that names a column twice: {listed(header)}")
            for row in rows:
                if row and len(row) != len(header):
                    raise csv.Error(f"{len(row)} values under {len(header)} names")
                if row:
                    yield rows.line_num, dict(zip(header, row, strict=True))
        except csv.Error as error:
            raise ValueError(
                f"line {rows.line_num} of {path}: a row of CSV is required, got: {error}. Correct it."
            ) from None

    header = list[str]()
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
        rows = read_bounded(path, most=_MOST_BYTES, columns=[key, *others])
    except TooLargeError as error:
        raise ValueError(f"{path}: {error}. Divide it, or drop columns.") from error
    except (OSError, pa.ArrowException) as error:
        raise ValueError(
            f"{path}: a whole Parquet file is required, got: {plain(str(error))}. Fetch it again."
        ) from error
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
                raise ValueError(
                    f"{unit} {number} of {path}: the prompt is required under {used} again, got {key}. Rename it."
                )
            used, text = key, row[key]
            rest = {name: value for name, value in row.items() if name != key}
        else:
            text, rest = row, {}
        if not isinstance(text, str | None):
            raise ValueError(f"{unit} {number} of {path}: a text is required, got {shown(text)}. Correct it.")
        if is_deep(rest, _DEEPEST + 1):
            raise ValueError(
                f"{unit} {number} of {path}: metadata of at most {_DEEPEST} levels are required, got {shown(rest)}. "
                "Drop them by `g2rpo import-prompts --no-metadata`, or flatten them."
            )
        texts.append(text or "")
        metadata.append(_encoded(rest) if rest else NO_METADATA)
    return PromptList(tuple(texts), tuple(metadata))


def _text_field(names: Iterable[str], field: str | None, where: str) -> str:
    """Return the field of the text."""
    present = [name for name in ((field,) if field else TEXT_FIELDS) if name in names]
    if len(present) == 1:
        return present[0]
    required, got = field or f"one of {', '.join(TEXT_FIELDS)}", " and ".join(present) or listed(names) or "nothing"
    raise ValueError(
        f"{where}: the prompt is required under {required}, got {got}. Rename the field, or convert the lists by "
        "`g2rpo import-prompts --field NAME`."
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
    "csv": partial(_table, ","),
    "tsv": partial(_table, "\t"),
    "txt": _lines,
}
"""The reader of each kind of file, by suffix."""
