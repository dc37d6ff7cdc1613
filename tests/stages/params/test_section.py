"""All sections are frozen, strict and complete."""

from typing import Annotated

import pytest
from pydantic import ValidationError
from tiny import tiny_params

from stages.params.section import ConfigSource, Effect, FileSource, Section, Source, refuse_repeats


class Two(Section):
    whole: int
    name: str


@pytest.mark.parametrize(
    "keys", [{"whole": 1}, {"whole": "1", "name": "a"}, {"whole": 1.0, "name": "a"}, {"whole": 1, "name": "a", "b": 2}]
)
def test_a_section_takes_its_keys_with_values_of_their_type_and_no_others(keys):
    with pytest.raises(ValidationError):
        Two.model_validate(keys)


class Marked(Section):
    place: Annotated[str, Effect.CONTENTS]
    colour: Annotated[str, Effect.NONE]
    size: int


def test_what_a_key_has_an_effect_on_is_written_on_its_field():
    effects = [Marked.effect_of(key) for key in ("place", "colour", "size")]
    assert effects == [Effect.CONTENTS, Effect.NONE, None]
    section = Marked(place="here", colour="red", size=3)
    assert section.without(Effect.NONE) == {"place": "here", "size": 3}
    assert section.without(*Effect) == {"size": 3}


def test_a_section_cannot_be_changed():
    section = Two(whole=1, name="a")
    with pytest.raises(ValidationError, match="frozen"):
        section.whole = 2


@pytest.mark.parametrize("kind", [Source, ConfigSource])
def test_a_hub_id_is_held_to_a_commit(kind):
    assert kind(path="owner/name", revision="0" * 40).revision == "0" * 40
    assert kind(path="folder", revision=None).revision is None
    for revision in ("main", "0" * 39, "0" * 41, "G" * 40):
        with pytest.raises(ValidationError):
            kind(path="owner/name", revision=revision)


def test_a_file_of_a_source_has_a_name():
    assert FileSource(path="folder", revision=None, file="a.pt").file == "a.pt"
    with pytest.raises(ValidationError, match="file"):
        FileSource.model_validate({"path": "folder", "revision": None})


def test_a_list_that_names_a_value_twice_is_refused_with_its_key():
    refuse_repeats("rollout.steps", [0, 1])
    refuse_repeats("update.spans", [[0], [1]])
    with pytest.raises(ValueError, match=r"rollout.steps: distinct values are required, got \[0, 1, 0\]. Name each"):
        refuse_repeats("rollout.steps", [0, 1, 0])


def test_values_are_set_by_key_in_sections_within_and_the_section_itself_stays():
    params = tiny_params()
    changed = params.with_values({"guards.time.action": "ignore", "guards.kl.most": 0.5, "run.seed": 7})
    assert (changed.guards.time.action, changed.guards.kl.most, changed.run.seed) == ("ignore", 0.5, 7)
    assert changed.guards.time.hours == params.guards.time.hours
    assert params == tiny_params()
    assert params.run.with_values({"seed": 7}) == changed.run
    with pytest.raises(AttributeError, match="colour"):
        params.with_values({"run.colour": "red"})
