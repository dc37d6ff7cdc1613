"""Values of any size fit on a screen, and a terminal obeys none of them."""

import pytest

from g2rpo.messages import escaped, listed, one_line, plain, shown


def test_a_short_value_is_shown_as_python_writes_it():
    assert shown("a cat") == "'a cat'"
    assert shown([0, 1, 0]) == "[0, 1, 0]"
    assert shown({"eta": 0.5}) == "{'eta': 0.5}"


def deep():
    value = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    ["x" * 10**6, b"x" * 10**6, list(range(10**5)), {str(key): 1 for key in range(30_000)}, deep()],
    ids=["text", "bytes", "list", "keys", "deep"],
)
def test_a_value_of_any_size_or_depth_is_shown_on_a_line(value):
    assert len(shown(value)) <= 241
    assert "\n" not in shown(value)


def test_a_long_text_keeps_its_beginning_and_its_end():
    assert plain("a" * 500 + "z" * 500) == "a" * 120 + "…" + "z" * 120


def test_what_a_terminal_would_obey_is_escaped_and_other_writing_stays():
    assert plain("\x1b[2J\u202e\n") == r"\x1b[2J\u202e\n"
    assert shown("漢字 é 😀") == "'漢字 é 😀'"


def test_many_names_are_cut_to_the_first_of_them():
    assert listed(["a", "b"]) == "a, b"
    assert listed(range(100), most=2) == "0, 1 and 98 more"
    assert listed(["\x1b[2J"]) == r"\x1b[2J"


def test_line_feeds_stay_where_they_are_kept():
    assert escaped("\x1b[2J\n", keep="\n") == "\\x1b[2J\n"


def test_a_text_of_others_becomes_one_short_line():
    assert one_line("a\n  b \x1b c", 100) == "a b \ufffd c"
    assert one_line("abcdef", 3) == "abc..."
