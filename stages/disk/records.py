"""The JSON records of the store, checked where they are read.

A seal reveals an accident, but anybody can make one. So each name and number of a record is checked here, before a name
is joined to a path: a record with anything else counts as damaged.
"""

import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError, model_validator

from stages.disk.files import read_sealed

RunKey = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
ShardName = Annotated[str, Field(pattern=r"^part-[0-9]{5}\.parquet$")]
WeightsName = Literal["weights.safetensors", "average.safetensors", "optimizer.safetensors"]
Prunable = Literal["anchors", "transitions", "completions", "policy"]

_Size = Annotated[int, Field(ge=0)]
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Time = Annotated[float, Field(ge=0, le=2e11, allow_inf_nan=False)]  # until the year 8307, which a date can show
_Number = Annotated[int, Field(ge=0, lt=10**6)]
LARGEST = 3.4028234663852886e38
"""Of a metric or a reward, which were numbers of fp32."""
_COSTS = {"evaluations", "cpu_seconds"}


class Record(BaseModel):
    """The form of a JSON object of the store."""

    model_config = ConfigDict(strict=True, extra="forbid")


class StateRecord(Record):
    """A policy's state.json."""

    digest: str
    num_steps: _Size
    files: dict[WeightsName, Digest]


class _TableRecord(Record):
    digest: Digest
    rows: Annotated[int, Field(ge=1)]
    bytes: _Size
    files: Annotated[dict[ShardName, Digest], Field(min_length=1)]


class _PolicyRecord(Record):
    digest: Digest
    rows: Literal[0]
    bytes: _Size
    files: dict[WeightsName | Literal["state.json"], Digest]


class ManifestRecord(Record):
    """The manifest of a finished stage."""

    stage: str
    number: _Number
    stamp: str
    inputs: dict[str, str]
    parameters: dict[str, dict[str, Any]]
    outputs: dict[str, _TableRecord | _PolicyRecord]
    seconds: _Amount
    cpu_seconds: _Amount
    peak_bytes: _Amount
    evaluations: _Size

    @model_validator(mode="after")
    def _only_a_policy_is_one(self) -> Self:
        for name, out in self.outputs.items():
            if (name == "policy") != isinstance(out, _PolicyRecord):
                raise ValueError(f"{name} has the files of another output")
        return self


class TombstoneRecord(Record):
    """The pruned outputs of a round."""

    outputs: list[Prunable]


class _ParentRecord(Record):
    key: RunKey
    round: _Number
    reason: str
    generation: _Number


class AboutRecord(Record):
    """A run's run.json."""

    key: RunKey
    created_at: _Time
    fingerprint: dict[str, Any]
    sessions: list[dict[str, str | float | None]]
    parent: _ParentRecord | None = None

    @model_validator(mode="after")
    def _fingerprint_has_what_is_read(self) -> Self:
        values = self.fingerprint
        if not isinstance(values.get("origins.policy"), str) or values.get("placement.staleness") not in (0, 1):
            raise ValueError("the fingerprint lacks a value")
        return self


class MetricsRecord(RootModel[dict[str, float]]):
    """The metrics of a round. Some may be infinite or NaN, which a guard tells; what is added up may not."""

    model_config = ConfigDict(strict=True)

    @model_validator(mode="after")
    def _costs_can_be_added_up(self) -> Self:
        costs = [value for name, value in self.root.items() if name in _COSTS or name.startswith("seconds/")]
        if not (self.root.keys() >= _COSTS and all(0 <= value < math.inf for value in costs)):
            raise ValueError("a cost is missing, negative, infinite or no number")
        if any(LARGEST < abs(value) < math.inf for value in self.root.values()):
            raise ValueError("a number is larger than any that was computed")
        return self


class MarkRecord(Record):
    """The files of a run that stay damaged."""

    files: list[str]


class DigestRecord(Record):
    """The digest of a large file, kept for one state of it."""

    file: str
    digest: Digest


def read_record(path: Path, kind: type[BaseModel]) -> dict[str, Any] | None:
    """Return a sealed JSON object of a kind, without its seal; None if it is missing, damaged, edited or of another."""
    value = read_sealed(path)
    return value if value is not None and is_record(value, kind) else None


def is_record(value: Any, kind: type[BaseModel]) -> bool:
    """Whether a JSON value has the form of a kind of record."""
    try:
        kind.model_validate(value)
    except ValidationError:
        return False
    return True
