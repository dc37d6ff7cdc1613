import time
from pathlib import Path

import pytest
from damage import edit, flip, replace
from tiny import tiny_params

from stages.contract.declared_stages import EVALUATE, STAGES
from stages.disk.files import remove, write_text
from stages.disk.policy_state import policy_state
from stages.integrity.verify import verify
from stages.params.file import written
from stages.store.adopted import mark_adopted
from stages.store.fingerprint import Fingerprint
from stages.store.run import WRITER, Run, find_run, open_run, stored_runs, write_about
from stages.texts.lists import with_prompts

BACK = "Run the command that made the run again"


@pytest.fixture
def run():
    return open_run(tiny_params(), device="cpu")


def test_a_run_lies_in_the_store_under_its_fingerprint_and_is_made_once(run, store):
    assert run.path == store / "runs" / run.key
    assert run.fingerprint == Fingerprint.of(tiny_params(), "cpu")
    made_at = run.about["created_at"]
    assert made_at > 1.7e9  # seconds since 1970, of the clock that this machine has
    assert open_run(tiny_params(), device="cpu") == run
    assert run.about == {
        **{"key": run.key, "created_at": made_at},
        **{"fingerprint": dict(run.fingerprint.values), "sessions": []},
    }
    assert policy_state(run.policy_folder(0)).digest == run.fingerprint.values["origins.policy"]
    assert run.params() == with_prompts(tiny_params(), run.prompts)
    assert verify(run) == []


def test_a_run_whose_run_json_is_damaged_says_so_and_is_opened_again(run):
    flip(run.path / "run.json")
    with pytest.raises(ValueError, match=rf"run\.json must be as it was written, got a damaged.*{BACK}, with its para"):
        run.key  # noqa: B018
    assert open_run(tiny_params(), device="cpu").about["sessions"] == []


def test_every_file_of_a_run_has_its_place():
    run, params = Run(Path("r")), tiny_params()
    assert run.prompts == Path("r/prompts")
    assert run.round_folder(42) == Path("r/rounds/0042")
    assert run.metrics_path(42) == Path("r/metrics/0042.json")
    assert run.evaluation_folder(3, "test") == Path("r/evaluations/0003-test")
    assert [run.policy_folder(n) for n in (0, 1)] == [Path("r/base"), Path("r/rounds/0000/policy")]
    assert run.stage_folder(STAGES["score"], 3, params) == Path("r/rounds/0003")
    assert run.stage_folder(EVALUATE, 3, params) == Path("r/evaluations/0003-tuning")
    assert WRITER["transitions"] == STAGES["rollout"]


@pytest.mark.parametrize(("staleness", "behind"), [(0, "rounds/0002/policy"), (1, "rounds/0001/policy")])
def test_a_stage_reads_tables_of_its_round_and_the_policy_before_or_with_staleness_the_one_before_that(
    staleness, behind
):
    runners = ["placement.runner=ray", "placement.num_runners=2", "placement.update_runners=1"] if staleness else []
    run = open_run(tiny_params(f"placement.staleness={staleness}", *runners), device="cpu")
    folder = run.path / "rounds/0003"
    completing = {"prompts": folder / "prompts", "transitions": folder / "transitions"}
    assert run.inputs(STAGES["complete"], 3) == completing | {"behaviour_policy": run.path / behind}
    assert run.inputs(STAGES["update"], 3)["previous_policy"] == run.path / "rounds/0002/policy"
    assert run.inputs(STAGES["rollout"], 0)["behaviour_policy"] == run.path / "base"
    assert run.inputs(EVALUATE, 3) == {"policy": run.path / "rounds/0002/policy"}


def test_evaluations_that_exist_are_reported_in_order(run):
    assert run.evaluations() == []
    for name in ("0010-tuning", "0002-test-b", "0002-test", "2-test", "old"):
        (run.path / "evaluations" / name).mkdir(parents=True)
        (run.path / "evaluations" / name / "evaluate.json").touch()
    (run.path / "evaluations" / "0011-tuning").mkdir()  # not done
    assert run.evaluations() == [(2, "test"), (10, "tuning")]


def test_head_moves_with_the_rounds(run):
    assert run.num_finished == 0
    for number in range(2):
        run.write_metrics(number, {"round": number + 1.0, "evaluations": 92.0, "cpu_seconds": 0.5})
        run.finish_round(number)
    assert run.num_finished == 2
    assert [row["round"] for row in run.metrics()] == [1.0, 2.0]
    assert run.metrics(first=1) == [{"round": 2.0, "evaluations": 92.0, "cpu_seconds": 0.5}]


def test_a_damaged_head_and_damaged_metrics_are_reported_with_a_remedy(run):
    replace(run.path / "HEAD", b"two\n")
    with pytest.raises(ValueError, match=f"HEAD must be a number of rounds, got b'two'. {BACK}: it counts them anew"):
        run.num_finished  # noqa: B018
    replace(run.path / "HEAD", b"1" * 5_000)
    with pytest.raises(ValueError, match=r"HEAD must be a number of rounds, got b'1{9,200}\.\.\.1{9,200}'\. Run the"):
        run.num_finished  # noqa: B018
    run.finish_round(0)
    with pytest.raises(ValueError, match=rf"0000\.json must be as it was written, got a damaged file or none. {BACK}"):
        run.metrics()


def test_parameters_that_change_no_number_are_remembered(run):
    more = tiny_params("run.rounds=9")
    run.remember(more)
    assert run.params() == with_prompts(more, run.prompts)
    assert sorted(path.name for path in run.prompts.iterdir()) == ["test", "train", "tuning"]


def test_a_run_without_lists_reads_none_elsewhere_though_its_parameters_name_a_folder(run, tmp_path):
    (tmp_path / "train.txt").write_text("a red circle\n", encoding="utf-8")
    write_text(run.path / "params.yaml", written(tiny_params(f"prompts.path={tmp_path}")))
    remove(run.prompts)
    assert run.params().prompts.path == str(run.prompts)


def test_sessions_are_noted_one_after_another_and_links_are_those_of_the_last(run):
    assert run.links == {}
    run.begin_session({"git_commit": "fae7c60"})
    run.finish_round(0)
    run.begin_session({"git_commit": "a160b2b"})
    run.link("mlflow_run_id", "7")
    before = (run.path / "run.json").stat().st_ino
    run.link("mlflow_run_id", "7")
    assert (run.path / "run.json").stat().st_ino == before  # known already
    first, second = run.about["sessions"]
    assert (first["git_commit"], first["first_round"]) == ("fae7c60", 0)
    assert (second["git_commit"], second["first_round"], second["mlflow_run_id"]) == ("a160b2b", 1, "7")
    assert second["started_at"] - first["started_at"] >= 0
    assert run.links == {"git_commit": "a160b2b", "mlflow_run_id": "7"}


def test_a_run_tells_the_run_that_it_went_on_from(run):
    assert run.parent is None
    parent = {"key": "3fa9" * 4, "round": 2, "reason": "kl", "generation": 1}
    write_about(run, tiny_params(), run.fingerprint, parent=parent)
    assert run.parent == parent


def test_a_run_is_found_by_the_beginning_of_its_key_or_by_its_folder(run, store, monkeypatch):
    assert find_run(run.key[:6]) == find_run(run.key) == run
    monkeypatch.chdir(store)
    assert find_run(f"runs/{run.key}") == run


def test_the_run_that_was_begun_last_is_the_newest():
    with pytest.raises(ValueError, match="A run is required, got an empty store. Train one first"):
        find_run("newest")
    runs = [open_run(tiny_params(f"run.seed={seed}"), device="cpu") for seed in (1, 2, 3)]
    assert find_run("newest").path == runs[-1].path
    assert stored_runs() == sorted(runs, key=lambda run: run.key)
    edit(runs[0].path / "run.json", lambda about: about.update(created_at=time.time() + 9))
    assert find_run("newest") == runs[0]


def test_a_run_of_others_is_never_the_newest_whatever_date_it_gives(run, store):
    other = open_run(tiny_params("run.seed=1"), device="cpu")
    edit(other.path / "run.json", lambda about: about.update(created_at=time.time() + 1e6))
    mark_adopted(other.key, store)
    assert find_run("newest") == run
    mark_adopted(run.key, store)
    with pytest.raises(ValueError, match="A run of your own is required as the newest, got 2 that were adopted or are"):
        find_run("newest")
    assert find_run(other.key) == other


def test_a_key_that_names_no_run_or_several_is_refused():
    with pytest.raises(ValueError, match="got none. Here: none"):
        find_run("nothing")
    keys = [open_run(tiny_params(f"run.seed={s}"), device="cpu").key for s in (1, 2)]
    with pytest.raises(ValueError, match=f"got none. Here: {min(keys)}, {max(keys)}"):
        find_run("nothing")
    with pytest.raises(ValueError, match="At least 4 characters of a run's key are required, got ''"):
        find_run("")


def test_a_run_whose_run_json_is_gone_differs_from_one_that_does_not_exist(run):
    key = run.key
    (run.path / "run.json").unlink()
    with pytest.raises(ValueError, match=rf"{key}/run\.json is required, got none. {BACK}"):
        find_run(key)
