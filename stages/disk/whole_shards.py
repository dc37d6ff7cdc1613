"""Whether a shard that no manifest names yet is as it was written.

The pages of a Parquet file carry checksums, its footer carries none. But the same rows give the same bytes: so the rows
are written anew, in memory, and the bytes compared.
"""

import io
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stages.disk.tables import TABLES, TENSOR, encode_shard, read_shard, shard_evaluations, shard_path, shard_stamp

_WRITER = re.compile(r"parquet-cpp-arrow version [0-9]+\.[0-9]+\.[0-9]+(-SNAPSHOT)?")


def is_as_written(folder: Path, shard: int) -> bool:
    """Whether a shard of a declared table is, byte for byte, what we write of its rows.

    The bytes of another release of Arrow may differ; such a shard has to be readable and as its table is declared.
    """
    table, path = TABLES[folder.name], shard_path(folder, shard)
    try:
        rows, writer = read_shard(folder, shard), pq.read_metadata(path).created_by
        stamp, evaluations = shard_stamp(folder, shard), shard_evaluations(folder, shard)
    except (ValueError, OSError, pa.ArrowException):
        return False
    if stamp is None or not _WRITER.fullmatch(writer):
        return False
    if writer != f"parquet-cpp-arrow version {pa.cpp_version}":
        return True
    again = io.BytesIO()
    columns = {name: rows[name].combine_chunks() for name in rows.column_names}
    plain = {
        name: column if table.columns[name] == TENSOR else column.cast(table.columns[name])  # renames list items
        for name, column in columns.items()
    }
    encode_shard(again, table, pa.table(plain), stamp=stamp, evaluations=evaluations)
    return again.getvalue() == path.read_bytes()
