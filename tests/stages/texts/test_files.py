"""Lists of prompts from files: every layout, what is refused, what a process reads once, where metadata go."""

import json
import os
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rounds import new_run
from tiny import tiny_params

from g2rpo.shapes.captions import captions
from stages.contract.declared_stages import STAGES
from stages.disk.files import value_digest
from stages.disk.tables import read_table, shard_stamp
from stages.engine.execute import run_stage
from stages.texts import lists
from stages.texts.draws import check_prompts
from stages.texts.files import PromptList
from stages.texts.layouts import find_split, read_split

CATS = [{"prompt": "a cat", "style": "photo", "rank": [1, 2]}, {"prompt": "zwei Kühe", "style": None}]
STYLED = PromptList(("a cat", "zwei Kühe"), ('{"rank": [1, 2], "style": "photo"}', '{"style": null}'))


def lines(rows):
    return "\n".join(json.dumps(row) for row in rows).encode()


def parquet(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def written(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def listed(folder, split="train"):
    return read_split(find_split(folder, split))


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


@pytest.mark.parametrize("pattern", ["train-{}-of-11.parquet", "data/train-{}-of-11.parquet", "train/{}.parquet"])
def test_shards_follow_each_other_by_number_and_not_by_letter(tmp_path, pattern):
    for number in range(11):
        parquet(tmp_path / pattern.format(number), prompt=[f"shard {number}"])
    written(tmp_path, "README.md", "what this is")
    written(tmp_path, "training.txt", "another split")
    assert listed(tmp_path).texts == tuple(f"shard {number}" for number in range(11))


def test_a_list_of_today_comes_back_with_its_metadata_and_one_of_yesterday_with_none(tmp_path):
    lists.write_list(tmp_path / "train", STYLED)
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
    ("name", "content", "told"),
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
        ("train.csv", b"text,text\na,b\n", "a header of distinct names is required"),
        ("train.parquet", b"PAR1 and no more", "a whole Parquet file is required"),
    ],
)
def test_a_file_that_does_not_say_its_prompts_is_refused_with_the_line(tmp_path, name, content, told):
    written(tmp_path, name, content)
    with pytest.raises(ValueError, match=told):
        listed(tmp_path)


def test_parquet_that_holds_no_texts_is_refused(tmp_path):
    parquet(tmp_path / "train.parquet", text=[1, 2])
    with pytest.raises(ValueError, match="texts are required in text, got int64"):
        listed(tmp_path)


def test_two_layouts_of_one_split_are_refused_by_name(tmp_path):
    written(tmp_path, "train.txt", "a cat")
    parquet(tmp_path / "data/train-00000-of-00001.parquet", text=["a cat"])
    told = r"one list of the train texts is required, got data/train\*.parquet and train.txt"
    with pytest.raises(ValueError, match=told):
        listed(tmp_path)


def test_a_missing_split_is_refused_with_those_there_are(tmp_path):
    written(tmp_path, "train.txt", "a cat")
    written(tmp_path, "data/test.csv", "text\na cat")
    written(tmp_path, "validation/rows.jsonl", lines(CATS))
    with pytest.raises(ValueError, match="prompts.path: a list of the tuning texts is required, got test, train, vali"):
        lists.prompt_list(tiny_params(f"prompts.path={tmp_path}"), "tuning")
    with pytest.raises(ValueError, match="prompts.path: a folder of lists is required, got .*train.txt"):
        lists.prompt_list(tiny_params(f"prompts.path={tmp_path / 'train.txt'}"), "train")


@pytest.mark.parametrize("gone", ["train-00001-of-00003.jsonl", "train-00002-of-00003.jsonl"])
def test_a_missing_shard_is_refused(tmp_path, gone):
    for number in range(3):
        written(tmp_path, f"train-{number:05d}-of-00003.jsonl", lines(CATS))
    (tmp_path / gone).unlink()
    with pytest.raises(ValueError, match="all 3 shards of the train texts and nothing else are required"):
        listed(tmp_path)


def test_a_family_without_captions_needs_lists():
    assert lists.family_captions("shapes", "test") == captions("test")
    with pytest.raises(ValueError, match="required, got null, and the family flux1 has no captions of its own. Make"):
        lists.family_captions("flux1", "train")


def test_words_are_checked_for_the_shapes_world_alone(tmp_path):
    written(tmp_path, "train.txt", "a photograph of a cat")
    with pytest.raises(ValueError, match=r"prompts.path: A caption of the shapes world uses the words"):
        lists.prompt_list(tiny_params(f"prompts.path={tmp_path}"), "train")
    lists.check_texts("flux1", ["a photograph of a cat"])


def test_lists_that_share_a_text_are_refused_unless_params_say_so(tmp_path):
    for split, texts in (("train", captions("train")), ("tuning", captions("tuning")), ("test", captions("test"))):
        written(tmp_path, f"{split}.txt", "\n".join(texts))
    check_prompts(tiny_params(f"prompts.path={tmp_path}"))
    leaked = captions("train")[5]
    written(tmp_path, "test.txt", "\n".join((*captions("test"), leaked)))
    with pytest.raises(ValueError, match=f"got 1 in both test and train, as '{leaked}'"):
        check_prompts(tiny_params(f"prompts.path={tmp_path}"))
    shutil.copy(tmp_path / "train.txt", tmp_path / "all.txt")
    check_prompts(tiny_params(f"prompts.path={tmp_path}", "prompts.split=all"))
    check_prompts(tiny_params(f"prompts.path={tmp_path}", "prompts.split=test"))


# What is read once, digests, and where metadata go


def test_a_list_is_read_once_until_its_file_changes(tmp_path, monkeypatch):
    reads = []
    monkeypatch.setattr(lists, "read_split", lambda files: reads.append(files) or read_split(files))
    params = tiny_params(f"prompts.path={tmp_path}")
    written(tmp_path, "train.txt", "a red circle")
    before = lists.list_digest(params, "train")
    assert lists.prompt_list(params, "train") == ("a red circle",)
    assert len(reads) == 1
    old = (tmp_path / "train.txt").stat()
    written(tmp_path, "train.txt", "a red square")  # as long as before, and no younger
    os.utime(tmp_path / "train.txt", ns=(old.st_atime_ns, old.st_mtime_ns + 1))
    assert lists.prompt_list(params, "train") == ("a red square",)
    assert lists.list_digest(params, "train") != before
    assert len(reads) == 2


def test_the_digest_covers_metadata_and_without_any_is_that_of_the_texts():
    assert PromptList.plain(["a", "b"]).digest == value_digest(["a", "b"])
    digests = {PromptList(("a", "b"), pair).digest for pair in (("{}", "{}"), ('{"x": 1}', "{}"), ("{}", '{"x": 1}'))}
    assert len(digests) == 3


def test_metadata_reach_the_prompts_of_a_round(tmp_path):
    rows = [{"text": text, "place": place} for place, text in enumerate(captions("train"))]
    written(tmp_path, "train.jsonl", lines(rows))
    for split in ("tuning", "test"):
        written(tmp_path, f"{split}.txt", "\n".join(captions(split)))
    run, params, resources = new_run(tiny_params(f"prompts.path={tmp_path}"))
    run_stage(run, STAGES["prompts"], 0, params, resources)
    for row in read_table(run.round_folder(0) / "prompts").to_pylist():
        assert captions("train")[json.loads(row["metadata"])["place"]] == row["text"]
    assert lists.list_digest(params, "train") == lists.list_digest(tiny_params(f"prompts.path={tmp_path}"), "train")
    assert lists.full_list(tiny_params(), "test").metadata == ("{}",) * len(captions("test"))
