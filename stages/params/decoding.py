"""Text of a file from outside: UTF-8, with plain line ends and without control characters."""

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")


def decoded(raw: bytes, where: str) -> str:
    """Return bytes as text whose lines end by a line feed; a byte order mark before a line is dropped.

    Args:
        raw: The bytes.
        where: Their place in an error, such as a path.

    Raises:
        ValueError: With the line, if they are not UTF-8 or hold a control character.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"line {line} of {where}: UTF-8 is required, got byte 0x{raw[error.start]:02x}. Save the file as UTF-8."
        ) from None
    text = text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff").replace("\n\ufeff", "\n")
    if control := control_in(text):
        line = line_of(text, text.index(control))
        raise ValueError(
            f"line {line} of {where}: text without control characters is required, got U+{ord(control):04X}. Remove it."
        )
    return text


def control_in(text: str) -> str | None:
    """Return the first control character of a text, other than white space; None if it has none."""
    found = _CONTROL.search(text)
    return found[0] if found else None


def line_of(text: str, position: int) -> int:
    """Return the number of the line, counted from 1, that holds a position of a text."""
    return text.count("\n", 0, position) + 1
