"""Layouts of a folder of prompts: which files are of a split, in which order, and what is refused."""

import pytest
from prompt_files import CATS, lines, listed, parquet, written
from tiny import tiny_params

from stages.disk.files import FileState
from stages.texts import lists
from stages.texts.files import PromptList
from stages.texts.layouts import find_split, layouts, read_any, read_split


def states(*paths):
    return tuple(FileState.of(path) for path in paths)


def test_the_files_of_each_split_are_found_by_the_layout_that_they_lie_in(tmp_path):
    names = ["train.txt", "test-00000-of-00001.csv", "data/train-1.json", "validation/a.jsonl", "validation/b.jsonl"]
    for name in (*names, ".hidden.txt", "README.md", "2023.txt", "validation/notes.md"):
        written(tmp_path, name, "a cat")
    splits = {split: {name: sorted(paths) for name, paths in of.items()} for split, of in layouts(tmp_path).items()}
    assert splits == {
        "train": {"train.txt": [tmp_path / names[0]], "data/train*.json": [tmp_path / names[2]]},
        "test": {"test*.csv": [tmp_path / names[1]]},
        "validation": {"validation/*.jsonl": [tmp_path / names[3], tmp_path / names[4]]},
    }
    assert layouts(tmp_path, "test") == {"test": splits["test"]}
    assert layouts(tmp_path, "tuning") == {}


def test_files_follow_each_other_and_keep_what_is_known_of_each_prompt(tmp_path):
    one, other = written(tmp_path, "a.jsonl", lines(CATS[:1])), written(tmp_path, "b.txt", "a dog")
    joined = PromptList(("a cat", "a dog"), ('{"rank": [1, 2], "style": "photo"}', "{}"))
    assert read_split(states(one, other)) == joined
    assert read_any(states(one, other), None) == joined


def test_files_are_read_as_they_come_with_any_field_and_with_empty_texts(tmp_path):
    path = written(tmp_path, "rows.jsonl", '{"long": "a cat"}\n{"long": ""}')
    assert read_any(states(path), "long") == PromptList.plain(["a cat", ""])


def test_an_empty_prompt_is_refused_with_its_file_and_place(tmp_path):
    paths = written(tmp_path, "a.txt", "a cat"), written(tmp_path, "b.json", '["a dog", " "]')
    with pytest.raises(ValueError, match=r"b.json: a text is required for every prompt, prompt 2 has none. Remove it"):
        read_split(states(*paths))


@pytest.mark.parametrize("pattern", ["train-{}-of-11.parquet", "data/train-{}-of-11.parquet", "train/{}.parquet"])
def test_shards_follow_each_other_by_number_and_not_by_letter(tmp_path, pattern):
    for number in range(11):
        parquet(tmp_path / pattern.format(number), prompt=[f"shard {number}"])
    written(tmp_path, "README.md", "what this is")
    written(tmp_path, "training.txt", "another split")
    assert listed(tmp_path).texts == tuple(f"shard {number}" for number in range(11))


def test_two_layouts_of_one_split_are_refused_by_name(tmp_path):
    written(tmp_path, "train.txt", "a cat")
    parquet(tmp_path / "data/train-00000-of-00001.parquet", text=["a cat"])
    message = r"one list of the train texts is required, got data/train\*.parquet and train.txt"
    with pytest.raises(ValueError, match=message):
        listed(tmp_path)


def test_a_missing_split_is_refused_with_the_existing_ones(tmp_path):
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


def test_a_file_beside_numbered_shards_is_refused(tmp_path):
    for name in ("train-00000-of-00001.txt", "train-more.txt"):
        written(tmp_path, name, "a cat")
    with pytest.raises(ValueError, match=r"all 1 shards of the train .* got train-00000-of-00001.txt, train-more.txt"):
        find_split(tmp_path, "train")


def test_a_list_that_is_a_link_to_itself_or_to_nothing_is_refused_by_its_name(tmp_path):
    (tmp_path / "train.txt").symlink_to("train.txt")
    (tmp_path / "test.txt").symlink_to("nowhere.txt")
    written(tmp_path, "tuning.txt", "a cat")
    with pytest.raises(ValueError, match=r"train.txt: a file or folder is required, got: .*symbolic links. Correct it"):
        find_split(tmp_path, "train")
    with pytest.raises(ValueError, match=r"test.txt: a file or folder is required, got: No such file"):
        find_split(tmp_path, "test")
    assert [file.path.name for file in find_split(tmp_path, "tuning")] == ["tuning.txt"]


def test_many_other_lists_are_named_on_one_screen(tmp_path):
    for number in range(200):
        written(tmp_path, f"{'x' * (number + 1)}.txt", "a cat")
    with pytest.raises(
        ValueError, match=r"a list of the train texts is required, got x, xx, .* and 184 more in"
    ) as caught:
        find_split(tmp_path, "train")
    assert len(str(caught.value)) < 1000
