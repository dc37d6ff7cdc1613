"""What a stage is given and what it gives back: paths and small records, never tensors."""

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
    """Digest of the inputs and of the parameters that matter here; shards carry it."""
    shards: Sequence[int] | None = None
    """Shards to make; None is all. Several runners may share a round by taking some each."""
    force: bool = False
    """Make shards again that are there already."""

    def pending(self, numbers: Sequence[int], *tables: str) -> list[int]:
        """Return those of the numbered shards that are asked for and not yet written from these inputs."""
        asked = [n for n in numbers if self.shards is None or n in self.shards]
        if self.force:
            return asked
        return [n for n in asked if any(shard_stamp(self.outputs[t], n) != self.stamp for t in tables)]

    def pending_like(self, parent: str, *tables: str) -> list[int]:
        """Return the pending shards of a stage that makes one shard from each of a parent table's."""
        return self.pending(shard_numbers(self.inputs[parent]), *tables)

    def texts(self) -> list[str]:
        """Return the texts of all prompts of the round."""
        return read_table(self.inputs["prompts"])["text"].to_pylist()

    def read(self, table: str, shard: int) -> pa.Table:
        """Return one shard of an input table."""
        return read_shard(self.inputs[table], shard)
