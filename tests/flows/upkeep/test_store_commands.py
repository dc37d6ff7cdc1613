"""Commands that keep the store in order, on runs whose files are written by hand."""

import shutil

import pytest
from damage import lose, replace
from handmade import begun, finish

from flows.cli.options import params_for
from flows.training.session import open_stored
from flows.upkeep.store_commands import adopted, find_whole, pruned, verified
from stages.disk.root import store_root
from stages.integrity.damage import Damage, mark, num_marked
from stages.params.file import written
from stages.store.lock import locked
from stages.store.run import Run
from stages.store.transfer import link_out

pytestmark = pytest.mark.usefixtures("own_store")


def bulky(*overrides):
    """A run of three rounds whose anchors take 300 kB each."""
    run, _ = begun("retention.rounds=null", *overrides)
    for number in range(3):
        finish(run)
        folder = run.round_folder(number) / "anchors"
        folder.mkdir()
        (folder / "part-00000.parquet").write_bytes(300_000 * b"x")
    return run


def rounds_with_anchors(run):
    return [number for number in range(3) if (run.round_folder(number) / "anchors").is_dir()]


def test_a_run_is_whole_as_long_as_its_own_files_are_as_they_were_written():
    run, _ = begun()
    assert find_whole(run.key[:6]).path == run.path
    assert verified(run.key[:6]) == f"run {run.key} is whole: 0 rounds, 0 evaluations"


def test_a_damaged_run_of_the_store_is_told_file_by_file_with_what_mends_it():
    run, _ = begun()
    replace(run.path / "HEAD", b"many")
    lose(run.path / "base/state.json")
    with pytest.raises(ValueError, match=f"Run {run.key} must be as it was written, got 2 damaged files") as caught:
        verified(run.key)
    told = str(caught.value).splitlines()
    assert told[1].startswith(f"  {run.path / 'base/state.json'}")
    assert told[2].startswith(f"  {run.path / 'HEAD'}")
    assert told[3:] == ["Run the command that started the run again: it writes the run's own files anew."]


def test_damage_of_a_round_is_mended_by_repair_and_a_run_that_is_whole_is_not_marked():
    run, _ = begun()
    finish(run)
    mark(run, [Damage(run.metrics_path(0), "")])
    with pytest.raises(ValueError, match=f"`g2rpo repair --run {run.key[:8]}` makes them again from their inputs; "):
        verified(run.key)
    assert num_marked(run) == 1
    run.finish_round(-1)
    shutil.rmtree(run.round_folder(0))
    lose(run.metrics_path(0))
    assert verified(run.key) == f"run {run.key} is whole: 0 rounds, 0 evaluations"
    assert num_marked(run) == 0


def test_a_damaged_run_elsewhere_is_mended_by_other_commands(tmp_path):
    run, _ = begun()
    link_out(run, tmp_path / "copy", 0)
    lose(tmp_path / "copy/base/state.json")
    with pytest.raises(
        ValueError, match="`g2rpo repair --run KEY` repairs .* --export FOLDER` links .*`dvc pull --force` fetches"
    ):
        verified(str(tmp_path / "copy"))


def test_a_run_does_not_go_on_by_parameters_that_are_damaged():
    run, _ = begun()
    replace(run.path / "params.yaml", b"run: {}")
    with pytest.raises(ValueError, match=r"params\.yaml.* Run `g2rpo train --params FILE` with the run's parameters"):
        find_whole(run.key)


def test_a_pruned_run_keeps_everything_of_its_last_rounds_and_says_what_was_freed():
    run = bulky()
    assert pruned(run.key[:6], 2) == f"run {run.key}: 0.3 MB freed; the last 2 rounds keep everything"
    assert rounds_with_anchors(run) == [1, 2]
    assert pruned(run.key, 1) == f"run {run.key}: 0.3 MB freed; the last 1 rounds keep everything"
    assert pruned(run.key, 1) == f"run {run.key}: 0.0 MB freed; the last 1 rounds keep everything"


def test_without_a_number_the_runs_own_retention_holds():
    run = bulky()
    assert pruned(run.key, None) == f"run {run.key}: 0.0 MB freed; all rounds keep everything"
    assert rounds_with_anchors(run) == [0, 1, 2]


def test_a_run_that_is_held_is_not_pruned():
    run = bulky()
    with locked(run.path), pytest.raises(ValueError, match="must be free, it is held by process"):
        pruned(run.key, 1)
    assert rounds_with_anchors(run) == [0, 1, 2]


def test_a_run_is_taken_into_a_store_that_lacks_it(tmp_path, monkeypatch):
    run = bulky()
    key = run.key
    link_out(run, tmp_path / "copy", 2)
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path / "other"))
    there = tmp_path / "other/runs" / key
    told = f"run {key} is in the store with 2 rounds; each start of it checks them: {there}"
    assert adopted(tmp_path / "copy", [].append) == told
    assert rounds_with_anchors(Run(there)) == [0, 1]
    assert adopted(tmp_path / "copy", [].append) == told


def test_what_is_no_run_is_not_adopted(own_store, tmp_path):
    with pytest.raises(ValueError, match=f"A folder with a run is required, got {tmp_path}"):
        adopted(tmp_path, [].append)
    assert store_root() == own_store
    assert not own_store.exists()


def copy_of(run, folder):
    link_out(run, folder, run.num_finished)
    shutil.rmtree(run.path)
    return folder


def test_what_a_run_uses_is_said_before_it_is_taken_and_what_is_strange_is_left(tmp_path):
    run, _ = begun("tracking.uri=http://10.0.0.2")
    copy = copy_of(run, tmp_path / "copy")
    (copy / "x.desktop").touch()
    said = []
    adopted(copy, said.append)
    assert said[-2:] == [
        "code, servers and variables: tracking.uri 'http://10.0.0.2'",
        "ignored, no files of a run: 'x.desktop'",
    ]
    assert not (run.path / "x.desktop").exists()


@pytest.mark.parametrize("file", ["params.yaml", "HEAD", "prompts/train/part-00000.parquet"])
def test_a_run_whose_own_files_are_not_its_own_is_not_adopted_and_the_store_stays_as_it_is(tmp_path, file):
    run, _ = begun()
    finish(run)
    copy = copy_of(run, tmp_path / "copy")
    content = (copy / file).read_bytes()
    replace(copy / file, content.replace(b"eta: 0.7", b"eta: 0.8") if file == "params.yaml" else b"x")
    before = sorted(store_root().rglob("*"))
    with pytest.raises(ValueError, match=f"{file}.* (is|are) required.*`dvc pull --force`"):
        adopted(copy, [].append)
    assert sorted(store_root().rglob("*")) == before


def test_an_adopted_run_does_not_go_on_with_servers_of_its_own_until_a_person_names_them(tmp_path):
    run, params = begun("tracking.uri=http://10.0.0.2")
    key = run.key
    adopted(copy_of(run, tmp_path / "copy"), [].append)
    for name in (key, str(tmp_path / "copy")):
        with pytest.raises(ValueError, match=r"tracking\.uri: 'http://10\.0\.0\.2'"):
            params_for(name, None, None)
    with pytest.raises(ValueError, match=r"tracking\.uri: 'http://10\.0\.0\.2'"):
        open_stored(run)
    (tmp_path / "own.yaml").write_text(written(params), encoding="utf-8")
    assert params_for(key, tmp_path / "own.yaml", None) == params


def test_verify_names_files_that_are_not_the_runs():
    run, _ = begun()
    (run.path / "notes.txt").touch()
    assert verified(run.key).splitlines()[1:] == ["ignored, no files of a run: 'notes.txt'"]
