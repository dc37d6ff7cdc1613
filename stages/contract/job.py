"""Inputs and outputs of a stage: paths and small records, never tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from stages.disk.tables import read_shard, read_table, shard_numbers, shard_stamp
from stages.params.record import Params


@dataclass(frozen=True)
class Job:
    """One call of a stage on one round.

    Example: `Job(params, 7, {"prompts": .../0007/prompts}, {"anchors": .../0007/anchors}, stamp="3f…")`.
    """

    params: Params
    round_number: int
    inputs: Mapping[str, Path]
    """Folder of each table or policy that the stage reads."""
    outputs: Mapping[str, Path]
    """Folder of each table or policy that the stage writes."""
    stamp: str
    """Digest of the stage's inputs and parameters; its shards carry it."""
    shards: Sequence[int] | None = None
    """Shards to make; None: all. Several runners may share a round, each with some of its shards."""
    force: bool = False
    """Make existing shards again."""

    def pending(self, numbers: Sequence[int], *tables: str) -> list[int]:
        """Return the numbers of the requested shards that are not yet written from these inputs."""
        requested = [n for n in numbers if self.shards is None or n in self.shards]
        if self.force:
            return requested
        return [n for n in requested if any(shard_stamp(self.outputs[t], n) != self.stamp for t in tables)]

    def pending_like(self, parent: str, *tables: str) -> list[int]:
        """Return the pending shards of a stage that makes one shard per shard of a parent table."""
        return self.pending(shard_numbers(self.inputs[parent]), *tables)

    def texts(self) -> list[str]:
        """Return the texts of all prompts of the round."""
        return read_table(self.inputs["prompts"])["text"].to_pylist()

    def read(self, table: str, shard: int) -> pa.Table:
        """Return one shard of an input table."""
        return read_shard(self.inputs[table], shard)
