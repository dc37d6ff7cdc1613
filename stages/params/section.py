"""What every section of params.yaml is: frozen and strict; and the ranges that its values are held to."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A section of params.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class Source(Section):
    """A folder of files, here or on a model hub."""

    path: str
    """A folder, or a hub id as `owner/name`."""
    revision: Annotated[str, Field(pattern="^[0-9a-f]{40}$")] | None
    """The commit of a hub id, 40 hex digits, so that nobody else's push changes a run; null for a folder."""


class ConfigSource(Source):
    """A folder of which configuration and tokenizer are read, and no weights."""


class FileSource(Source):
    """One file of such a folder."""

    file: str
    """Its name in the folder."""


def refuse_repeats(key: str, values: Sequence[object]) -> None:
    """Refuse a list that names a value twice.

    Raises:
        ValueError: With its key and values.
    """
    if len({repr(value) for value in values}) < len(values):  # a value may be a list
        raise ValueError(f"{key}: distinct values are required, got {list(values)}. Name each once.")
