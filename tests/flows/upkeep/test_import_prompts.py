"""Lists made from what others publish: what is dropped, what is set apart, and that nothing half done is left."""

import json

import pytest
from tiny import tiny_params

from flows.upkeep.import_prompts import import_prompts
from g2rpo.shapes.captions import captions
from stages.texts.draws import check_prompts
from stages.texts.files import PromptList
from stages.texts.layouts import find_split, layouts, read_split


def written(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def listed(folder, split="train"):
    return read_split(find_split(folder, split))


def imported(source, out, *, field=None, tuning=0, test=0, metadata=True):
    return import_prompts(source, out, field=field, tuning=tuning, test=test, metadata=metadata)


def test_an_import_drops_what_is_empty_repeated_or_held_out_and_says_so(tmp_path):
    train = [{"prompt": text, "n": n} for n, text in enumerate(("a", "b", "", "a", "t", "v", "c", None))]
    written(tmp_path, "source/train.json", json.dumps(train))
    written(tmp_path, "source/validation.txt", "v\nt\nw\nw")
    written(tmp_path, "source/test.json", json.dumps(["t", "u"]))
    written(tmp_path, "source/all.csv", "text\na\nt\nt\n")
    told = imported(tmp_path / "source", tmp_path / "out")
    assert [str(line) for line in told] == [
        "train: 3 texts; dropped: 2 empty, 1 repeated, 2 held out elsewhere",
        "tuning: 2 texts; dropped: 0 empty, 1 repeated, 1 held out elsewhere",
        "test: 2 texts; dropped: 0 empty, 0 repeated, 0 held out elsewhere",
        "all: 2 texts; dropped: 0 empty, 1 repeated, 0 held out elsewhere",
    ]
    assert listed(tmp_path / "out") == PromptList(("a", "b", "c"), ('{"n": 0}', '{"n": 1}', '{"n": 6}'))
    assert listed(tmp_path / "out", "tuning").texts == ("v", "w")
    assert listed(tmp_path / "out", "test").texts == ("t", "u")


def test_one_file_is_a_training_list_from_which_others_are_set_apart_evenly(tmp_path):
    written(tmp_path, "anything.csv", "title,idea\n" + "\n".join(f"x,{n}" for n in range(12)))
    imported(tmp_path / "anything.csv", tmp_path / "out", field="idea", test=4, tuning=2, metadata=False)
    assert listed(tmp_path / "out", "test") == PromptList.plain(["0", "3", "6", "9"])
    assert listed(tmp_path / "out", "tuning").texts == ("1", "7")  # 0 and 4 of the eight that are left
    assert listed(tmp_path / "out").texts == ("2", "4", "5", "8", "10", "11")


def test_an_import_can_be_trained_from(tmp_path):
    written(tmp_path, "shapes.txt", "\n".join(captions("all")))
    imported(tmp_path / "shapes.txt", tmp_path / "out", tuning=20, test=30)
    check_prompts(tiny_params(f"prompts.path={tmp_path / 'out'}"))
    assert {name: list(found) for name, found in layouts(tmp_path / "out").items()} == {
        split: [f"{split}/*.parquet"] for split in ("train", "tuning", "test")
    }


@pytest.mark.parametrize(
    ("files", "asked", "told"),
    [
        ({"train.txt": "a\nb"}, {"tuning": 2}, "--tuning: fewer than the 2 training texts are required, got 2"),
        ({"test.txt": "a\nb"}, {"tuning": 1}, "--tuning: fewer than the 0 training texts"),
        ({"train.txt": "a\nb", "test.txt": "c"}, {"test": 1}, "--test: a source without a test list is required"),
        ({"train.txt": "a", "test.txt": "a"}, {}, "at least one train text is required, got none that is in no other"),
        ({"tuning.txt": "a", "validation.txt": "b"}, {}, "got both tuning and validation"),
        ({"notes.md": "a"}, {}, "a list of the train texts is required, got none in"),
        ({"train.jsonl": '{"idea": "a"}'}, {"field": "thought"}, "the prompt is required under thought, got idea"),
        ({"out/mine": "x", "train.txt": "a"}, {}, "--out: an empty or new folder is required"),
    ],
)
def test_an_import_that_cannot_be_whole_writes_nothing(tmp_path, files, asked, told):
    for name, content in files.items():
        written(tmp_path, name, content)
    there = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=told):
        imported(tmp_path, tmp_path / "out", **asked)
    assert sorted(path.name for path in tmp_path.rglob("*")) == there


def test_an_import_of_nothing_or_of_a_foreign_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match="A file or folder of prompts is required, got no"):
        imported(tmp_path / "nothing", tmp_path / "out")
    (tmp_path / "prompts.txt").symlink_to("/dev/null")
    with pytest.raises(ValueError, match="prompts.txt: a regular file is required, got a folder, a pipe or a device"):
        imported(tmp_path / "prompts.txt", tmp_path / "out")
    written(tmp_path, "prompts.xlsx", "x")
    with pytest.raises(ValueError, match=r"a file .parquet, .jsonl, .json, .csv, .tsv, .txt is required, got .*xlsx"):
        imported(tmp_path / "prompts.xlsx", tmp_path / "out")
