"""The names of the files that a run may have."""

from pathlib import Path

import pytest

from stages.store.run_files import (
    begun_rounds,
    evaluations_of,
    files_of,
    require_no_links,
    round_of,
    rounds_with_metrics,
    strange_files,
)

OURS = {
    "run.json": 0,
    "params.yaml": 0,
    "HEAD": 0,
    "base/state.json": 0,
    "prompts/train/part-00000.parquet": 0,
    "metrics/0007.json": 8,
    "rounds/0007/rewards/part-00000.parquet": 8,
    "rounds/0007/policy/weights.safetensors": 8,
    "rounds/12345/score.json": 12346,
    "rounds/0007/pruned.json": 8,
    "evaluations/0007-tuning/evaluate.json": 7,
    "evaluations/0007-test/pictures/part-00003.parquet": 7,
}
OF_THE_STORE = ("lock", "stop", "damaged.json", ".former/0002-update/update.json", "rounds/.a.1-00.tmp", ".a.tmp/HEAD")
STRANGE = (
    "metrics/0001 (copy).json",
    "rounds/0001.bak/score.json",
    "rounds/0001/rewards/part-1.parquet",
    "rounds/0001/policy/x.safetensors",
    "rounds/\u0661\u0661\u0661\u0661/score.json",
    "evaluations/old/evaluate.json",
    ".config/autostart/x.desktop",
    "HEAD\n",
)


@pytest.fixture
def folder(tmp_path):
    for name in (*OURS, *OF_THE_STORE, *STRANGE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_the_files_of_a_run_are_known_by_their_names_and_the_others_are_strange(folder):
    assert {path.relative_to(folder).as_posix() for path in files_of(folder)} == set(OURS)
    assert set(strange_files(folder)) == set(STRANGE)


@pytest.mark.parametrize(("file", "rounds"), OURS.items())
def test_a_file_belongs_behind_the_rounds_that_have_made_it(file, rounds):
    assert round_of(Path(file)) == rounds


def test_rounds_and_evaluations_are_counted_by_names_of_ours_alone(folder):
    assert (begun_rounds(folder), rounds_with_metrics(folder)) == ([1, 7, 12345], [7])
    assert evaluations_of(folder) == [(7, "tuning")]


def test_a_folder_that_is_deep_is_walked_and_a_link_in_it_is_named(tmp_path):
    deep = tmp_path.joinpath(*"d" * 300)
    deep.mkdir(parents=True)
    require_no_links(tmp_path)
    assert list(files_of(tmp_path)) == []
    (deep / "link").symlink_to("/etc")
    with pytest.raises(ValueError, match=r"got a link or a special file, .*/d/link\. .*Remove that name"):
        require_no_links(tmp_path)
