"""The base of every section of params.yaml: frozen and strict; with the ranges and the effects of keys."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Effect(Enum):
    """What a key affects, if not training. A key without an effect affects training: another value is another run.

    Example: `rounds: Annotated[Count, Effect.NONE]`.
    """

    NONE = "changes no number"
    CONTENTS = "the contents of what it names count, not the path"
    EVALUATION = "changes evaluation, not training"


class Section(BaseModel):
    """A section of params.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)

    @classmethod
    def effect_of(cls, key: str) -> Effect | None:
        """Return the effect that marks a field; None if the field affects training."""
        return next((mark for mark in cls.model_fields[key].metadata if isinstance(mark, Effect)), None)

    @classmethod
    def keys_with(cls, *effects: Effect) -> set[str]:
        """Return the keys with one of these effects."""
        return {key for key in cls.model_fields if cls.effect_of(key) in effects}

    def without(self, *effects: Effect) -> dict[str, Any]:
        """Return the section as JSON, without the keys with one of these effects."""
        return self.model_dump(mode="json", exclude=self.keys_with(*effects))

    def with_values(self, values: Mapping[str, Any]) -> Self:
        """Return a copy with other values by key, as `{"guards.time.action": "ignore"}`; they are not checked again.

        Raises:
            AttributeError: If there is no such key.
        """
        changed: dict[str, Any] = {}
        for key, value in values.items():
            name, dot, within = key.partition(".")
            held = changed.get(name, getattr(self, name))
            changed[name] = held.with_values({within: value}) if dot else value
        return self.model_copy(update=changed)


class Source(Section):
    """A folder of files, on this machine or on a model hub."""

    path: Annotated[str, Effect.CONTENTS]
    """A folder, or a hub id such as `owner/name`."""
    revision: Annotated[Annotated[str, Field(pattern="^[0-9a-f]{40}$")] | None, Effect.CONTENTS]
    """The commit of a hub id, 40 hex digits, so that a push to the hub does not change a run; null for a folder."""


class ConfigSource(Source):
    """A folder from which only configuration and tokenizer are read, no weights."""


class FileSource(Source):
    """One file of a folder, on this machine or on a model hub."""

    file: str
    """Name of the file in the folder."""


def refuse_repeats(key: str, values: Sequence[object]) -> None:
    """Refuse a list that names a value twice.

    Raises:
        ValueError: With the key and the values.
    """
    if len({repr(value) for value in values}) < len(values):  # a value may be a list
        raise ValueError(f"{key}: distinct values are required, got {list(values)}. Name each once.")
