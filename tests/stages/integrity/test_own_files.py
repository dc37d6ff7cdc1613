import json

import pytest
from damage import edit, flip, replace
from tiny import tiny_params

from stages.integrity.own_files import damaged_own_files, num_with_metrics, require_source
from stages.store.run import Run, open_run


@pytest.fixture
def run():
    return open_run(tiny_params(), device="cpu")


def told(run):
    """What is damaged, by file: what is required and was found."""
    return {str(damage.path.relative_to(run.path)): damage.what for damage in damaged_own_files(run)}


def test_a_run_that_was_just_begun_is_whole(run):
    assert damaged_own_files(run) == []


@pytest.mark.parametrize("hurt", [flip, lambda path: path.unlink()])
def test_without_run_json_nothing_else_can_be_judged(run, hurt):
    hurt(run.path / "run.json")
    (run.path / "params.yaml").unlink()
    assert told(run) == {"run.json": "it must be as it was written, got none or a damaged or edited one"}


def test_an_edited_fingerprint_is_told_by_its_digest(run):
    key = run.key
    edit(run.path / "run.json", lambda about: about["fingerprint"].update({"rollout.eta": 0.5}))
    assert told(run) == {
        "run.json": f"its fingerprint must have the digest {key}, got {run.fingerprint.key}: it was edited"
    }


def test_a_run_in_the_folder_of_another_is_told_in_the_store_and_not_outside(run, tmp_path):
    moved = Run(run.path.rename(run.path.with_name("0" * 16)))
    required = f"the run in folder {'0' * 16} must have that key, got {run.path.name}: of another run"
    assert told(moved) == {"run.json": required}
    assert damaged_own_files(Run(moved.path.rename(tmp_path / "copy"))) == []


@pytest.mark.parametrize("content", [b"{", None, b'{"digest": "0", "num_steps": 0, "files": {}}'])
def test_another_base_is_told_with_the_digest_that_is_required(run, content):
    path = run.path / "base/state.json"
    digest = json.loads(path.read_text())["digest"]
    path.unlink()
    if content:
        replace(path, content)
    assert told(run) == {"base/state.json": f"the base policy with digest {digest} is required, got another or none"}


def test_parameters_that_were_edited_are_told_by_name(run):
    path = run.path / "params.yaml"
    replace(path, path.read_bytes().replace(b"eta: 0.7", b"eta: 0.8").replace(b"seed: 0", b"seed: 1"))
    assert told(run) == {"params.yaml": "the parameters of the run are required, got others in rollout.eta, run.seed"}


def test_parameters_that_cannot_be_read_are_told_with_what_is_wrong(run):
    replace(run.path / "params.yaml", b"run: 7\n")
    assert told(run)["params.yaml"].startswith("the parameters of the run are required, got a damaged file or none: ")
    assert "not valid" in told(run)["params.yaml"]


@pytest.mark.parametrize("split", ["train", "tuning", "test"])
@pytest.mark.parametrize("hurt", [flip, lambda path: path.unlink()])
def test_a_list_of_prompts_that_is_hurt_is_told(run, split, hurt):
    name = f"prompts/{split}/part-00000.parquet"
    hurt(run.path / name)
    assert told(run) == {name: "the run's list of prompts is required as it was written, got another or none"}


def test_a_damaged_list_is_refused_where_the_parameters_name_no_other_source(run):
    by_itself = run.params()
    require_source(run, by_itself)
    flip(run.path / "prompts/tuning/part-00000.parquet")
    with pytest.raises(ValueError, match="prompts/tuning/.* names this folder. Run `g2rpo train --params FILE`"):
        require_source(run, by_itself)
    require_source(run, tiny_params())


def with_metrics(run, *rounds):
    for number in rounds:
        run.write_metrics(number, {"round": number + 1.0, "evaluations": 92.0, "cpu_seconds": 0.5})


def test_rounds_are_counted_by_their_metrics(run):
    assert num_with_metrics(run) == 0
    with_metrics(run, 0, 1, 10)
    assert num_with_metrics(run) == 11


@pytest.mark.parametrize(
    ("head", "got"), [(b"1\n", None), (b"2\n", None), (b"3\n", "b'3\\n'"), (b"0\n", "b'0\\n'"), (b"x", "b'x'")]
)
def test_head_may_lag_a_round_behind_the_metrics_as_when_a_process_was_killed(run, head, got):
    with_metrics(run, 0, 1)
    replace(run.path / "HEAD", head)
    expected = {"HEAD": f"a number of finished rounds from 1 to 2 is required, got {got}"} if got else {}
    assert told(run) == expected


def test_head_may_be_as_far_as_a_round_whose_metrics_are_lost(run):
    with_metrics(run, 0, 1)
    (run.path / "HEAD").write_text("3\n")
    run.round_folder(2).mkdir(parents=True)
    assert damaged_own_files(run) == []
    (run.path / "HEAD").unlink()
    assert told(run) == {"HEAD": "a number of finished rounds from 1 to 3 is required, got no file"}
