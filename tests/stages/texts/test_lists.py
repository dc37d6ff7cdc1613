"""The texts that prompts are drawn from: whose lists they are, what is read once, written and refused."""

import json
import os
import shutil

import pytest
from prompt_files import STYLED, lines, listed, written
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
from stages.texts.layouts import read_split


def test_without_a_path_the_texts_are_the_familys_own():
    texts = captions("tuning")
    assert lists.prompt_list(tiny_params(), "tuning") == texts
    assert lists.full_list(tiny_params(), "tuning") == PromptList.plain(texts)
    assert lists.list_digest(tiny_params(), "tuning") == value_digest(texts)


def test_with_a_path_they_are_those_of_its_files(tmp_path):
    written(tmp_path, "test.jsonl", '{"text": "a red circle", "rank": 1}')
    params = lists.with_prompts(tiny_params(), tmp_path)
    assert params.prompts.path == str(tmp_path)
    assert lists.full_list(params, "test") == PromptList(("a red circle",), ('{"rank": 1}',))
    assert lists.prompt_list(params, "test") == ("a red circle",)
    assert params.prompts.num_prompts == tiny_params().prompts.num_prompts


def test_a_written_list_comes_back_and_carries_its_digest(tmp_path):
    lists.write_list(tmp_path / "train", "train", STYLED)
    assert read_table(tmp_path / "train").to_pylist() == [
        {"id": f"train-000{row}", "text": text, "negative_text": "", "metadata": metadata, "source_picture": b""}
        for row, (text, metadata) in enumerate(zip(STYLED.texts, STYLED.metadata, strict=True))
    ]
    assert listed(tmp_path) == STYLED
    assert shard_stamp(tmp_path / "train", 0) == STYLED.digest


def test_the_lists_that_a_run_draws_from_are_written_each_once(tmp_path):
    params = tiny_params("prompts.split=train", "evaluate.split=train", "report.split=test")
    assert lists.write_prompt_lists(params, tmp_path) == {"train": 437, "test": 146}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test", "train"]
    assert listed(tmp_path, "test").texts == captions("test")


def test_a_list_is_written_again_only_when_it_has_changed(tmp_path):
    written(tmp_path / "own", "train.txt", "a red circle")
    for split in ("tuning", "test"):
        written(tmp_path / "own", f"{split}.txt", "a blue square")
    params = tiny_params(f"prompts.path={tmp_path / 'own'}")
    lists.write_prompt_lists(params, tmp_path / "out")
    first = {path: path.stat().st_ino for path in (tmp_path / "out").rglob("*.parquet")}
    written(tmp_path / "own", "train.txt", "a red square")
    lists.write_prompt_lists(params, tmp_path / "out")
    changed = [path.parent.name for path, inode in first.items() if path.stat().st_ino != inode]
    assert changed == ["train"]
    assert listed(tmp_path / "out", "train").texts == ("a red square",)


def test_the_splits_of_a_run_are_named_once():
    assert lists.splits_of(tiny_params()) == ["train", "tuning", "test"]
    assert lists.splits_of(tiny_params("prompts.split=test")) == ["test", "tuning"]


def test_a_prompt_record_is_named_after_its_split_and_place():
    assert lists.record_id("train", 42) == "train-0042"


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
