"""YAML: values as YAML 1.2 has them, what is refused with its line, files along what they extend, what is written."""

import json
import math
import re

import pytest
import yaml
from tiny import ROOT

from stages.params.yaml import MOST_BYTES, dumped, dumped_line, parse, read_extending, read_mapping

OURS = [*sorted((ROOT / "presets").rglob("*.yaml")), *(ROOT / f"{name}.yaml" for name in ("params", "prefect"))]
OURS.append(ROOT / "automations.yaml")
NASTY = [
    *("", " ", "a", "  a", "a  ", "a\tb", "a\nb", "a\n", "\n", "\n\na", "a\r\nb", "- a", "a: b", ": a", "a:", "a #b"),
    *("*a", "&a", "!a", "%a", "@a", "`a", '"', "'", "a\\b", "[", "{", "}", "a, b", "# a", "<<", "=", "?", "? a", "|"),
    *(">", "---", "...", "yes", "no", "on", "off", "y", "true", "Null", "~", ".inf", "-.inf", ".nan", "1:30", "1_000"),
    *("0b1", "010", "08", "1", "+1", "-1e5", "1e-4", "1.", ".5", "5e3", "25921e05", "61e9540", "1e400", "0x1F", "0o7"),
    *("-", ".", "9" * 500, "2026-01-01", "é", "漢字", "😀", "\u2028", "\u0085", "\ufeffa", "a\ufeff", "\xa0", "\u200b"),
    *("\ud7ff\ue000", "\U0010ffff", "x" * 300),
]


def value(text, where="FILE"):
    return parse(text if isinstance(text, bytes) else text.encode(), where)


def read(path):
    return read_mapping(path, "A plan", "--plan FILE")


def test_a_mapping_is_read_with_its_values(tmp_path):
    (tmp_path / "p.yaml").write_text("a: {b: [1, null, true]}  # a comment\nc: 1e-4\nd: 1.0e-4\n")
    assert read(tmp_path / "p.yaml") == {"a": {"b": [1, None, True]}, "c": 1e-4, "d": 1e-4}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("7", 7), ("-7", -7), ("+7", 7), ("010", 10), ("0x1f", 31), ("0o17", 15)),
        *(("1e-4", 1e-4), ("2E+3", 2000.0), (".5", 0.5), ("5.", 5.0), ("-1.5e3", -1500.0), (".inf", math.inf)),
    ],
)
def test_numbers_are_those_of_yaml_1_2(text, number):
    assert (value(text), type(value(text))) == (number, type(number))


@pytest.mark.parametrize(
    "text",
    ["yes", "no", "on", "off", "1:30", "1_000", "0b1", "2026-01-01", "61e9540", "1e999", "a", ".", "=", "9" * 401],
)
def test_all_other_plain_scalars_are_text_and_so_is_a_number_that_no_float_can_hold(text):
    assert value(text) == text


@pytest.mark.parametrize("text", ["25921e05", "61e9540", "010", "1e-4", "true", "null", ""])
def test_what_is_quoted_is_text(text):
    assert value(f'"{text}"') == value(f"'{text}'") == value(f"!!str {text}") == text


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_our_own_files_mean_the_same_by_yaml_1_1_which_prefect_reads(path):
    def old(tree):
        if isinstance(tree, dict):
            return {key: old(inner) for key, inner in tree.items()}
        if isinstance(tree, list):
            return [old(inner) for inner in tree]
        return float(tree) if isinstance(tree, str) and re.fullmatch(r"[\d.]+e-?\d+", tree) else tree

    assert read(path) == old(yaml.safe_load(path.read_text(encoding="utf-8")))


BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "line 1 of FILE: YAML is required, got: an alias of the value here"),
        ("a: 1\nb: &b [*b]", "line 2 of FILE: .*: an alias"),
        ("update: 1\nrun: 2\nupdate: 3", "line 3 of FILE: YAML is required, got: the key 'update' a second time"),
        ("run:\n  seed: 1\n  seed: 1", "line 3 of FILE: .*: the key 'seed' a second time"),
        ("[" * 3000 + "]" * 3000, "line 1 of FILE: .*: more than 50 levels of lists and keys"),
        ("- " * 400_000, "line 1 of FILE: .*: more than 50 levels"),
        ("a: 1\n25921e05: 2", "line 2 of FILE: .*: the key 2592100000.0, which is no text: quote it"),
        ("? [a]\n: 2", r"line 1 of FILE: .*: the key \['a'\], which is no text"),
        ("a: 1\nb: !!python/object:os.system {}", "line 2 of FILE: .*: the tag .*python/object:os"),
        ("a: !!binary eHg=", "line 1 of FILE: .*: the tag"),
        ("a: 1\nrun: [", "line 2 of FILE: YAML is required, got: did not find"),
        ("--- a\n--- b", "line 2 of FILE: YAML is required, got: but found another document"),
        (b"a: 1\nb: fa\xe7ade", "line 2 of FILE: UTF-8 is required, got byte 0xe7. Save the file as UTF-8"),
        ("a: 1\nb: \0", r"line 2 of FILE: text without control characters is required, got U\+0000. Remove"),
        ('a: 1\nb: "\\e[2J"', r"line 2 of FILE: .*: the control character U\+001B"),
        ("a: \x80", r"line 1 of FILE: YAML is required, got U\+0080"),
        ("#" * MOST_BYTES + "\na: 1", "FILE: at most 1,000,000 bytes of YAML are required, got more"),
    ],
    ids=lambda text: repr(text[:12]),
)  # fmt: skip
def test_what_a_reader_and_the_program_could_take_for_different_things_is_refused_with_its_line(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        value(text)
    assert len(str(caught.value)) < 1000


def test_as_many_levels_as_allowed_are_read():
    assert value("[" * 50 + "]" * 50) == json.loads("[" * 50 + "]" * 50)


def test_a_byte_order_mark_before_a_line_is_no_part_of_it():
    assert value("\ufeffa: 1\n\ufeffb: 2") == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2]", r"p\.yaml must hold keys and values, got list. Start from a shipped file"),
        ("", r"p\.yaml must hold keys and values, got NoneType"),
        ("run: [", r"line 1 of .*p\.yaml: YAML is required"),
    ],
)
def test_what_is_no_mapping_is_refused(tmp_path, content, message):
    (tmp_path / "p.yaml").write_text(content)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "p.yaml")


def test_a_missing_file_is_refused_by_what_names_it(tmp_path):
    with pytest.raises(ValueError, match=r"A plan is required, got .*, which is a folder. Correct --plan"):
        read_mapping(tmp_path, "A plan", "--plan FILE")
    with pytest.raises(ValueError, match=r"A plan is required, got .*p\.yaml, which does not exist. Correct --plan"):
        read(tmp_path / "p.yaml")


def test_a_link_to_itself_and_a_name_that_no_file_can_have_are_refused(tmp_path):
    (tmp_path / "p.yaml").symlink_to("p.yaml")
    with pytest.raises(ValueError, match=r"got .*p\.yaml, which leads nowhere. Correct --plan"):
        read(tmp_path / "p.yaml")
    with pytest.raises(ValueError, match=r"leads nowhere"):
        read_extending(tmp_path / "p.yaml", "A file", "--params FILE")
    with pytest.raises(ValueError, match=r"which cannot be read: File name too long. Correct --plan") as caught:
        read(tmp_path / ("x" * 5000))
    assert len(str(caught.value)) < 500


def test_files_are_read_along_what_they_extend_the_lowest_last(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "low.yaml").write_text("run: {seed: 1}")
    (tmp_path / "inner/middle.yaml").write_text("extends: ../low.yaml\nrun: {seed: 2}")
    (tmp_path / "high.yaml").write_text("extends: inner/middle.yaml\nrun: {seed: 3}")
    files = read_extending(tmp_path / "high.yaml", "A file", "--params FILE")
    assert [tree for _, tree in files] == [{"run": {"seed": seed}} for seed in (3, 2, 1)]
    assert [path.name for path, _ in files] == ["high.yaml", "middle.yaml", "low.yaml"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("extends: p.yaml", r"extends in .*p\.yaml: files that form no circle are required, got one at .*p\.yaml"),
        ("extends: 3", r"extends: a file name is required, got 3 in .*p\.yaml. Name one, as ../params.yaml"),
        ("extends: lost.yaml", r"got .*lost\.yaml, which does not exist. Correct extends in .*p\.yaml"),
    ],
)
def test_files_that_extend_nothing_readable_are_refused(tmp_path, content, message):
    (tmp_path / "p.yaml").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_extending(tmp_path / "p.yaml", "A file", "--params FILE")


@pytest.mark.parametrize("write", [dumped, dumped_line])
def test_every_text_that_is_written_comes_back_by_yaml_1_2_and_1_1(write):
    for text in NASTY:
        for tree in (text, {text: text}, [text, [text]], {"a": {"b": text, "c": [text]}}):
            assert value(write(tree)) == yaml.safe_load(write(tree)) == tree


@pytest.mark.parametrize("write", [dumped, dumped_line])
def test_every_other_value_that_is_written_comes_back_with_its_type(write):
    for number in (0, -5, 10**30, 1e-5, 1.5, 2e16, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, True, None):
        assert (value(write(number)), type(value(write(number)))) == (number, type(number))


def test_a_value_that_comes_twice_is_written_twice():
    shared = [1]
    assert dumped({"a": shared, "b": shared}) == "a:\n- 1\nb:\n- 1\n"
    assert dumped_line({"b": [1, "25921e05"], "a": None}) == "{b: [1, '25921e05'], a: null}"


def test_a_control_character_behind_letters_of_several_bytes_is_refused_with_its_line():
    with pytest.raises(ValueError, match=r"^line 2 of it: YAML is required, got U\+0080\. Remove it\.$"):
        parse("猫: 猫猫猫\n\x80".encode(), "it")
