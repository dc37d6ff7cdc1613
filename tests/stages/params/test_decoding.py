"""Bytes from outside as text, or refused with their line."""

import pytest

from stages.params.decoding import control_in, decoded, line_of


def test_lines_end_by_a_line_feed_and_begin_without_a_byte_order_mark():
    assert decoded("\ufeffé\r\n\ufeff b\rc\u2028\tx".encode(), "FILE") == "é\n b\nc\u2028\tx"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"a\nfa\xe7ade", "line 2 of FILE: UTF-8 is required, got byte 0xe7. Save the file as UTF-8."),
        ("a".encode("utf-16"), "line 1 of FILE: UTF-8 is required, got byte 0xff"),
        (b"a\n\nb\0", r"line 3 of FILE: text without control characters is required, got U\+0000. Remove it."),
        (b"a\r\n\x1b[2J", r"line 2 of FILE: .* got U\+001B"),
    ],
)
def test_other_encodings_and_control_characters_are_refused_with_their_line(raw, message):
    with pytest.raises(ValueError, match=message):
        decoded(raw, "FILE")


def test_white_space_is_no_control_character():
    assert control_in("a\tb\nc\rd\x0ce") is None
    assert control_in("a\x7fb\0") == "\x7f"


def test_lines_are_counted_from_one():
    assert [line_of("a\nb\n", position) for position in (0, 1, 2, 4)] == [1, 1, 2, 3]
