"""The base of every section of params.yaml: frozen and strict; with the ranges and the effects of keys."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from g2rpo.messages import shown
from stages.params.names import Commit, Text

MOST = 1_000_000
"""The largest count: a list of as many still fits into the memory of the check."""
_LARGEST = 1e9

Count = Annotated[int, Field(ge=1, le=MOST)]
"""A number of things."""
CountOrNone = Annotated[int, Field(ge=0, le=MOST)]
"""As `Count`, or 0 for none."""
Steps = Annotated[int, Field(ge=1, le=1000)]
"""A number of steps of the sampler, at most the thousand levels on which flow models are trained."""
Processes = Annotated[int, Field(ge=1, le=10_000)]
"""Processes or threads, at most those of the largest clusters."""
Positive = Annotated[float, Field(gt=0, le=_LARGEST, allow_inf_nan=False)]
"""A finite number above 0; the largest leaves products of four within float32."""
NotNegative = Annotated[float, Field(ge=0, le=_LARGEST, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


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

    path: Annotated[Text, Effect.CONTENTS]
    """A folder, or a hub id such as `owner/name`."""
    revision: Annotated[Commit | None, Effect.CONTENTS]
    """The commit of a hub id, 40 hex digits, so that a push to the hub does not change a run; null for a folder."""


class ConfigSource(Source):
    """A folder from which only configuration and tokenizer are read, no weights."""


class FileSource(Source):
    """One file of a folder, on this machine or on a model hub."""

    file: Text
    """Name of the file in the folder."""


def refuse_repeats(key: str, values: Sequence[object]) -> None:
    """Refuse a list that names a value twice.

    Raises:
        ValueError: With the key and the values.
    """
    if len({repr(value) for value in values}) < len(values):  # a value may be a list
        raise ValueError(f"{key}: distinct values are required, got {shown(list(values))}. Name each once.")


def refuse_too_many(section: str, num_prompts: int, num_noises: int) -> None:
    """Refuse an evaluation of more than a million pictures, which would be listed before the first is sampled.

    Raises:
        ValueError: With the section and the number.
    """
    if num_prompts * num_noises > MOST:
        raise ValueError(
            f"{section}.num_noises: at most {MOST:,} pictures, {section}.num_prompts times {section}.num_noises, are "
            f"required, got {num_prompts * num_noises:,}. Lower one."
        )
