"""Faults as lines that fit on a screen, in the words of a file."""

from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from stages.params.faults import fault_lines, value_line
from stages.params.names import Name
from stages.params.section import Count, Section


class Some(Section):
    name: Name
    counts: Annotated[tuple[Count, ...], Field(min_length=1)]


def lines(**keys):
    with pytest.raises(ValidationError) as caught:
        Some.model_validate(keys)

    def line(fault):
        return value_line(".".join(map(str, fault["loc"])), fault, "the file")

    return fault_lines(caught.value, line).split("\n")


def test_a_fault_says_what_is_required_what_was_got_and_what_to_do():
    assert lines(name="a", counts=(0,)) == [
        "  counts.0: input should be greater than or equal to 1, got 0. Change it in the file."
    ]
    assert lines(name=25921e05, counts=(1,)) == [
        "  name: input should be a valid string, got 2592100000.0. Put the text in quotes."
    ]
    assert lines(name="a/b", counts=(1,))[0].endswith("Rename it.")


def test_a_list_is_called_short_only_where_it_is():
    assert lines(name="a", counts=()) == [
        "  counts: list should have at least 1 item after validation, not 0, got (). Change it in the file."
    ]


def test_of_many_faults_the_first_are_told_and_the_others_counted():
    assert lines(name="a", counts=(0,) * 20)[-1].startswith("  counts.19: ")
    told = lines(name="a", counts=("x" * 10**6,) * 30_000)
    assert (len(told), told[-1]) == (16, "  and 29985 more faults")
    assert sum(map(len, told)) < 3_100
