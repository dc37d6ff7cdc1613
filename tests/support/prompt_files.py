"""Files of prompts in a test's own folder."""

import json

import pyarrow as pa
import pyarrow.parquet as pq

from stages.texts.files import PromptList
from stages.texts.layouts import find_split, read_split

CATS = [{"prompt": "a cat", "style": "photo", "rank": [1, 2]}, {"prompt": "zwei Kühe", "style": None}]
STYLED = PromptList(("a cat", "zwei Kühe"), ('{"rank": [1, 2], "style": "photo"}', '{"style": null}'))
"""What CATS are read as."""


def lines(rows):
    return "\n".join(json.dumps(row) for row in rows).encode()


def parquet(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def written(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def listed(folder, split="train"):
    return read_split(find_split(folder, split))
