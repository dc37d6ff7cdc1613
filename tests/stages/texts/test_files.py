"""The kinds of files of prompts: what is read of each, what is refused, and what names a list."""

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prompt_files import CATS, STYLED, lines, listed, parquet, written

from stages.disk.files import value_digest
from stages.disk.tables import shard_stamp
from stages.texts import lists
from stages.texts.files import PromptList, is_blank, read_file

# What is read


@pytest.mark.parametrize("content", ["a cat\nzwei Kühe", "\ufeffa cat\r\n\r\n zwei Kühe \r\n", "a cat\rzwei Kühe\r"])
def test_plain_text_holds_a_prompt_a_line_whatever_its_line_ends(tmp_path, content):
    written(tmp_path, "train.txt", content.encode())
    assert listed(tmp_path) == PromptList.plain(["a cat", "zwei Kühe"])


def test_only_line_ends_end_a_prompt(tmp_path):
    written(tmp_path, "train.txt", "a cat\u2028a dog\x0cand a cow\n")
    written(tmp_path, "test.jsonl", '{"text": "a cat\u2028a dog"}\n')
    assert listed(tmp_path).texts == ("a cat\u2028a dog\x0cand a cow",)
    assert listed(tmp_path, "test").texts == ("a cat\u2028a dog",)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.jsonl", b"\n".join((lines(CATS[:1]), b"", lines(CATS[1:]), b""))),
        ("train.json", json.dumps(CATS, indent=1)),
        ("train.json", lines(CATS)),
        ("train/rows.jsonl", lines(CATS)),
        ("data/train-00000-of-00001-8b6e212f3e1ece96.jsonl", lines(CATS)),
    ],
)
def test_the_other_fields_of_an_object_are_its_metadata(tmp_path, name, content):
    written(tmp_path, name, content)
    assert listed(tmp_path) == STYLED


def test_csv_is_read_as_it_is_written(tmp_path):
    written(tmp_path, "train.csv", 'caption,number\r\n"a cat, ""Tom""\nasleep",007\r\n\r\n1984,\r\n')
    assert listed(tmp_path) == PromptList(('a cat, "Tom"\nasleep', "1984"), ('{"number": "007"}', '{"number": ""}'))


@pytest.mark.parametrize("field", ["prompt", "text", "caption"])
def test_parquet_keeps_all_columns_but_pictures(tmp_path, field):
    image = [{"bytes": b"\x89PNG", "path": "1.png"}, None]
    parquet(tmp_path / "train.parquet", **{field: ["a cat", "a dog"], "score": [0.5, float("nan")], "image": image})
    assert listed(tmp_path) == PromptList(("a cat", "a dog"), ('{"score": 0.5}', '{"score": null}'))


def test_a_list_of_today_comes_back_with_its_metadata_and_one_of_yesterday_with_none(tmp_path):
    lists.write_list(tmp_path / "train", "train", STYLED)
    assert listed(tmp_path) == STYLED
    assert shard_stamp(tmp_path / "train", 0) == STYLED.digest
    path = tmp_path / "train/part-00000.parquet"
    pq.write_table(pq.read_table(path).drop(["metadata"]), path)  # keeps the stamp
    assert listed(tmp_path) == PromptList.plain(STYLED.texts)


def test_a_part_that_others_wrote_is_read_as_any_parquet(tmp_path):
    parquet(tmp_path / "train/part-00000.parquet", caption=["a cat"], metadata=["mine"])
    assert listed(tmp_path) == PromptList(("a cat",), ('{"metadata": "mine"}',))


def test_a_text_that_comes_twice_stays_twice(tmp_path):
    written(tmp_path, "train.txt", "a cat\na dog\na cat\n")
    assert listed(tmp_path).texts == ("a cat", "a dog", "a cat")


# What is refused


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.txt", "a cat\nfa\xe7ade".encode("latin-1"), r"line 2 of .*train.txt: UTF-8 is required, got byte 0xe7"),
        ("train.txt", b"\n \n", "at least one prompt is required, got none"),
        ("train.jsonl", b'{"prompt": "a"}\n\n{"prompt": ', r"line 3 of .*train.jsonl: a JSON object is required"),
        ("train.jsonl", b'{"prompt": "a", "text": "b"}', r"line 1 of .* one of .* got prompt and text"),
        ("train.jsonl", b'{"Prompt": "a"}', r"line 1 of .*: the prompt is required under one of .*, got Prompt"),
        ("train.jsonl", b'{"prompt": "a"}\n{"text": "b"}', r"line 2 of .* under prompt again, got text"),
        ("train.jsonl", b'{"prompt": ["a"]}', r"line 1 of .*: a text is required, got \['a'\]"),
        ("train.jsonl", b'{"prompt": "\\ud83d"}', "whole characters are required"),
        ("train.jsonl", b'{"prompt": "a"}\n{"prompt": null}', "prompt 2 has none"),
        ("train.json", b'["a", "  "]', "prompt 2 has none"),
        ("train.json", b'["a", 5]', r"row 2 of .*: a text is required, got 5"),
        ("train.json", b'["a", ', "a JSON list of objects or texts is required"),
        ("train.csv", b"text,x\na\n", r"line 2 of .*: a row of CSV is required, got: 1 values under 2 names"),
        (
            "train.csv",
            b'text\n"a cat\nand so on',
            r"line 3 of .*: a row of CSV is required, got: unexpected end of data",
        ),
        (
            "train.csv",
            b"text,text\na,b\n",
            r"line 1 of .*: a row of CSV is required, got: a header that names a column twice",
        ),
        ("train.parquet", b"PAR1 and no more", "a whole Parquet file is required"),
    ],
)
def test_a_file_that_does_not_say_its_prompts_is_refused_with_the_line(tmp_path, name, content, message):
    written(tmp_path, name, content)
    with pytest.raises(ValueError, match=message):
        listed(tmp_path)


def test_parquet_that_holds_no_texts_is_refused(tmp_path):
    parquet(tmp_path / "train.parquet", text=[1, 2])
    with pytest.raises(ValueError, match="texts are required in text, got int64"):
        listed(tmp_path)


# What names a list, and parts of one


def test_the_digest_covers_metadata_and_without_any_is_that_of_the_texts():
    assert PromptList.plain(["a", "b"]).digest == value_digest(["a", "b"])
    digests = {PromptList(("a", "b"), pair).digest for pair in (("{}", "{}"), ('{"x": 1}', "{}"), ("{}", '{"x": 1}'))}
    assert len(digests) == 3


def test_rows_are_chosen_in_the_order_that_they_are_named():
    prompts = PromptList(("a", "b", "c"), ("{}", '{"x": 1}', "{}"))
    assert prompts.only([2, 1]) == PromptList(("c", "b"), ("{}", '{"x": 1}'))


def test_a_field_that_is_named_is_the_text_beside_others(tmp_path):
    rows = [{"prompt": "a cat", "long": "a cat asleep"}, {"prompt": "a dog", "long": None}]
    prompts = read_file(written(tmp_path, "rows.jsonl", lines(rows)), "long")
    assert prompts == PromptList(("a cat asleep", ""), ('{"prompt": "a cat"}', '{"prompt": "a dog"}'))
    with pytest.raises(ValueError, match=r"line 1 of .*: the prompt is required under short, got prompt, long"):
        read_file(tmp_path / "rows.jsonl", "short")


def test_a_file_of_another_kind_is_refused_with_the_kinds_there_are(tmp_path):
    with pytest.raises(
        ValueError, match=r"a file .parquet, .jsonl, .json, .csv, .tsv, .txt is required, got .*cats.xml"
    ):
        read_file(written(tmp_path, "cats.xml", "<cat/>"))


def test_metadata_that_are_no_numbers_become_null_at_any_depth(tmp_path):
    row = '{"text": "a cat", "a": [NaN, {"b": -Infinity}], "c": 0.5}'
    assert read_file(written(tmp_path, "rows.jsonl", row)).metadata == ('{"a": [null, {"b": null}], "c": 0.5}',)


def test_texts_of_a_dictionary_column_are_texts(tmp_path):
    path = parquet(tmp_path / "rows.parquet", text=pa.array(["a cat", None, "a cat"]).dictionary_encode())
    assert read_file(path) == PromptList.plain(["a cat", "", "a cat"])


# What others send


@pytest.mark.parametrize(
    "name", ["train.TXT", "train.Jsonl", "train.CSV", "data/train-00000-of-00001.PARQUET", "train/a.TXT"]
)
def test_a_suffix_in_capitals_is_the_same_kind(tmp_path, name):
    content = {"txt": "a cat", "jsonl": '{"text": "a cat"}', "csv": "text\na cat"}
    kind = name.split(".")[1].lower()
    if kind == "parquet":
        parquet(tmp_path / name, text=["a cat"])
    else:
        written(tmp_path, name, content[kind])
    assert listed(tmp_path).texts == ("a cat",)


def test_rows_with_tabs_are_read_as_those_with_commas(tmp_path):
    written(tmp_path, "train.tsv", 'text\tstyle\na cat, asleep\tphoto\n"a ""dog"""\t\n')
    assert listed(tmp_path) == PromptList(("a cat, asleep", 'a "dog"'), ('{"style": "photo"}', '{"style": ""}'))


def test_one_indented_object_is_one_row(tmp_path):
    written(tmp_path, "train.json", '{\n  "prompt": "a cat",\n  "style": "photo"\n}\n')
    assert listed(tmp_path) == PromptList(("a cat",), ('{"style": "photo"}',))


def test_joined_files_with_byte_order_marks_and_lines_without_ink_are_read(tmp_path):
    written(tmp_path, "train.txt", "\ufeffa cat\n\u200b\n\ufeffa dog\n\xa0\n\ufeff\n")
    written(tmp_path, "test.jsonl", '\ufeff{"text": "a cat"}\n\ufeff{"text": "a dog"}\n')
    assert listed(tmp_path).texts == listed(tmp_path, "test").texts == ("a cat", "a dog")


DEEP = '{"text": "a cat", "x": ' + "[" * 21 + "]" * 21 + "}"
BOTTOMLESS = '{"text": "a cat", "x": ' + "[" * 100_000 + "]" * 100_000 + "}"
MANY = json.dumps({f"key_{number}": 1 for number in range(30_000)})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.jsonl", '{"text": "a"}\n' + DEEP, "line 2 of .*: metadata of at most 20 levels"),
        ("train.jsonl", '{"text": "a"}\n' + BOTTOMLESS, "line 2 of .*: .* got: maximum recursion"),
        ("train.json", "[" * 100_000, "train.json: a JSON list of .* got: maximum recursion"),
        ("train.json", '[\n"a",\n,', "line 3 of .*: a JSON list of objects or texts is required"),
        ("train.jsonl", '{"text": "a"}\n{"text": ' + "9" * 5000 + "}", "line 2 of .*: a JSON object .* Exceeds"),
        ("train.jsonl", MANY, "line 1 of .*: the prompt is required under .*, got key_0, .* and 29984 more"),
        ("train.jsonl", f'{{"text": {MANY}}}', "line 1 of .*: a text is required, got {'key_0': 1"),
        ("train.csv", ",".join(f"key_{number}" for number in range(30_000)) + "\n" + "," * 29_999, "and 29984 more"),
        ("train.csv", "text\n" + "x" * 200_000, "line 2 of .*: a row of CSV .* larger than field limit"),
        ("train.txt", "a cat\n" + "a dog " * 170_000, "prompt 2 of .*: at most 20,000 characters .* 1,019,999"),
        ("train.txt", "a cat\na\0dog", r"line 2 of .*: text without control characters is required, got U\+0000"),
        ("train.jsonl", '"a cat"\n"a\\u001b[2Jdog"', r"prompt 2 of .*: .* got U\+001B in 'a\\x1b\[2Jdog'. Remove"),
        ("train.jsonl", '{\n  "text": "a"\n}', "line 1 of .*: a JSON object .*. Write each on one line"),
        ("train.json", '["\u200b"]', "prompt 1 has none"),
    ],
    ids=lambda value: value[:16],
)  # fmt: skip
def test_what_no_list_holds_is_refused_with_its_line_on_one_screen(tmp_path, name, content, message):
    written(tmp_path, name, content)
    with pytest.raises(ValueError, match=message) as caught:
        listed(tmp_path)
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isprintable()


def test_a_prompt_may_be_as_long_as_no_encoder_reads(tmp_path):
    written(tmp_path, "train.txt", "x" * 20_000)
    assert len(listed(tmp_path).texts[0]) == 20_000


@pytest.mark.parametrize("kind", ["txt", "jsonl", "json", "csv", "tsv", "parquet"])
def test_a_pipe_or_a_device_is_refused_by_its_name_and_not_read(tmp_path, kind):
    pipe, endless = tmp_path / f"train.{kind}", tmp_path / f"test.{kind}"
    os.mkfifo(pipe)
    endless.symlink_to("/dev/zero")
    for path in (pipe, endless):
        message = f"{path.name}: a regular file is required, got a folder, a pipe or a device. Remove it."
        with pytest.raises(ValueError, match=message):
            read_file(path)
        with pytest.raises(ValueError, match=message):
            listed(tmp_path, path.stem)


@pytest.mark.parametrize("kind", ["txt", "jsonl", "json", "csv", "tsv"])
def test_a_file_too_large_for_memory_is_refused_before_it_is_read(tmp_path, kind):
    path = written(tmp_path, f"train.{kind}", "")
    os.truncate(path, 2**29 + 1)
    with pytest.raises(ValueError, match=rf"train.{kind}: at most 536,870,912 bytes .* got 536,870,913. Divide it"):
        read_file(path)


def test_parquet_of_a_few_bytes_and_gigabytes_of_texts_is_refused_before_it_is_read(tmp_path):
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 600_000, pa.int32()), pa.array(["a cat" * 200]))
    path = parquet(tmp_path / "train.parquet", text=texts)
    assert path.stat().st_size < 100_000
    with pytest.raises(ValueError, match=r"train.parquet: values of at most 536,870,912 bytes .* got .* Divide it"):
        read_file(path)


def test_texts_without_ink_are_blank_and_others_are_not():
    assert all(map(is_blank, ("", " \t\n", "\u200b\ufeff", "\u3000\xa0")))
    assert not any(map(is_blank, ("a", "\u200ba", "漢", "😀", ".")))


def test_parquet_of_long_prompts_and_of_control_characters_is_refused_too(tmp_path):
    parquet(tmp_path / "train.parquet", text=["a cat", "a\0dog"])
    with pytest.raises(ValueError, match=r"prompt 2 of .*train.parquet: text without control characters"):
        listed(tmp_path)
