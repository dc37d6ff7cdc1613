from pathlib import Path
from types import SimpleNamespace

import pytest
from damage import flip
from tiny import tables, tiny_params
from tracking import shown

from flows.common.endings import GuardStopError
from flows.training.loop import call_plainly
from flows.training.provenance import versions
from flows.training.session import EXPORTED, Session, as_typed, open_stored, ready, require_same
from stages.disk.files import write_sealed
from stages.integrity.damage import num_marked
from stages.integrity.verify import verify
from stages.params.record import for_report
from stages.store.lock import locked
from stages.store.run import Run, stored_runs
from stages.store.transfer import link_out
from stages.texts.draws import drawn_texts
from stages.texts.held_out import held_out


def session_of(again, *overrides):
    """A session of the copied run with these parameters, and its models."""
    return Session(again.with_params(*overrides), again.executor, again.run)


class Encoder:
    """Has text encoders that have read nothing yet, beside the models of an executor."""

    def __init__(self, executor):
        self.executor, self.texts = executor, []

    def __getattr__(self, name):
        return getattr(self.executor, name)

    def encode(self, texts):
        self.texts = texts
        return len(texts)


def interrupted(name, number, work):
    raise InterruptedError


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("evaluate.rewards=[rule_soft, beauty]",), "A reward for a model of the family shapes is one of"),
        (("evaluate.num_prompts=9999",), "evaluate.num_prompts: at most the"),
        (("report.num_prompts=9999",), "captions of split test are possible, got 9999"),
        (("prompts.num_prompts=9999",), "prompts.num_prompts: at most the 437 texts"),
        (("tracking.uri=http://127.0.0.1:1",), "the MLflow server must answer at http://127.0.0.1:1"),
        (("policy.path=/nowhere",), "policy.path: a folder with"),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything_is_stored(own_store, overrides, said):
    with pytest.raises(ValueError, match=said):
        Session.of(tiny_params(*overrides))
    assert not own_store.exists()


def test_parameters_are_checked_and_given_what_they_compute_on(own_store):
    assert ready(tiny_params("rollout.eta=0.3")).device.type == "cpu"
    with pytest.raises(ValueError, match="prompts.num_prompts: at most the 437 texts"):
        ready(tiny_params("prompts.num_prompts=9999"))
    assert not own_store.exists()


def test_a_run_that_dvc_pull_has_brought_is_taken_into_the_store(made, own_store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    link_out(made.run, EXPORTED, 2)
    assert Session.of(made.params, adopting=False).run.num_finished == 0
    assert Session.of(tiny_params("run.seed=1")).run.num_finished == 0  # another run's
    taken = Session.of(made.params).run
    assert taken.path == own_store / "runs" / made.run.key
    assert tables(taken.path) == tables(made.run.path)


def test_a_run_that_is_named_is_gone_on_with_wherever_it_lies(made, own_store, tmp_path):
    link_out(made.run, tmp_path / "copy", 1)
    session = Session.of(made.params, Run(tmp_path / "copy"))
    assert (session.run.path, session.run.num_finished) == (own_store / "runs" / made.run.key, 1)
    with pytest.raises(ValueError, match="these differ:\n  rollout.eta: 0.7, got 0.3\nSet them back"):
        Session.of(tiny_params("rollout.eta=0.3"), Run(tmp_path / "copy"))


def test_every_difference_to_what_made_a_run_is_told(made):
    require_same(made.run, made.params, made.executor)
    require_same(made.run, tiny_params("run.rounds=9", "evaluate.every=7", "guards.kl.most=0.3"), made.executor)
    with pytest.raises(ValueError, match="differ:\n  rollout.eta: 0.7, got 0.3\n  run.seed: 0, got 1\nSet them back"):
        require_same(made.run, tiny_params("rollout.eta=0.3", "run.seed=1"), made.executor)
    with pytest.raises(ValueError, match="resources.device: cpu, got cuda"):
        require_same(made.run, made.params, SimpleNamespace(device=SimpleNamespace(type="cuda")))


def test_a_stored_run_is_opened_with_the_parameters_that_it_was_last_started_with(again):
    last = again.with_params("run.rounds=7")
    again.run.remember(last)
    session = open_stored(again.run)
    assert session.params.run.rounds == 7
    assert (session.run, session.executor.device.type) == (again.run, "cpu")
    again.run.remember(again.with_params("rollout.eta=0.3"))
    with pytest.raises(ValueError, match="rollout.eta: 0.7, got 0.3"):
        open_stored(again.run)


def test_a_session_brings_a_run_to_its_end_and_tells_all_who_watch(again, tracked, tmp_path, capsys):
    """One more round of a run that has two: where it comes from is noted, what it comes to shown and linked out."""
    (again.run.path / "stop").touch()  # meant for an earlier process
    session = session_of(again, "run.rounds=3", "guards.time.hours=1e-9")
    links, out = {"prefect_flow_run_id": "0-1"}, tmp_path / "out"
    run = session.train(again.call, observers=[again], links=links, out=out, obey=False)
    assert run is again.run
    assert run.params().run.rounds == run.num_finished == 3
    assert [call[:2] for call in again.calls if not call[2]][:6] == [
        (name, 2) for name in ("prompts", "rollout", "complete", "score", "integrate", "update")
    ]
    assert again.told[0] == ("watch", 3)
    assert again.told[-1] == ("close", "finished")
    assert ("guarded", "time", "warn") in again.told  # a guard that is not obeyed warns, and the run goes on
    assert {("evaluated", 3, "tuning"), ("evaluated", 0, "test"), ("evaluated", 3, "test")} <= set(again.told)
    client, found = shown(tracked)
    assert found.info.status == "FINISHED"
    assert [entry.step for entry in client.get_metric_history(found.info.run_id, "update/kl")] == [1, 2, 3]
    assert run.links.items() >= (links | versions() | {"mlflow_run_id": found.info.run_id}).items()
    assert Run(out).num_finished == 3
    assert "round 3/3" in capsys.readouterr().err
    with locked(run.path):
        pass  # it is free again


def test_of_what_is_damaged_the_next_rounds_need_is_made_again_and_the_rest_is_named_and_marked(
    again, made, tracked, capsys
):
    shard = again.run.round_folder(0) / "advantages/part-00000.parquet"
    for path in (again.run.metrics_path(1), shard):
        flip(path)
    session_of(again).train(again.call, final=False)
    said = capsys.readouterr().err
    assert f"damaged: {again.run.metrics_path(1)}: " in said
    assert f"damaged: {shard}: " in said
    assert f"`g2rpo repair --run {again.run.key[:8]}` makes them again" in said
    assert [damage.path for damage in verify(again.run)] == [shard]
    assert num_marked(again.run) == 1
    assert again.run.metrics() == made.run.metrics()
    assert again.calls == [("evaluate", 0, True), ("evaluate", 2, True)]  # and not on the captions of the report


def test_a_damaged_prompt_list_is_written_anew_from_the_source_of_the_parameters(again, made, tracked):
    for split in ("train", "test"):
        flip(again.run.prompts / split / "part-00000.parquet")
    session_of(again).train(again.call, final=False)
    assert verify(again.run) == []
    assert tables(again.run.path) == tables(made.run.path)


def test_a_run_whose_last_policy_is_lost_with_its_inputs_goes_back_and_comes_out_the_same(again, made, tracked, capsys):
    for path in ("policy/weights.safetensors", "advantages/part-00000.parquet"):
        flip(again.run.round_folder(1) / path)
    session_of(again, "run.rounds=3").train(again.call, final=False)
    assert "the run goes back from round 2 to round 1, the last whose policy is whole" in capsys.readouterr().err
    done = [call[:2] for call in again.calls if not call[2]]
    assert done[:3] == [("integrate", 1), ("update", 1), ("evaluate", 2)]
    assert verify(again.run) == []
    kept = tables(again.run.path)
    expected = tables(made.run.path)
    assert {name: kept[name] for name in kept.keys() & expected.keys()}.items() <= expected.items()


def test_all_texts_that_will_be_painted_are_encoded_first(again, tracked, capsys):
    """Of the third round four, of the tuning captions four, of the report's three; what asks for them comes later."""
    params, executor = again.with_params("run.rounds=3", "report.num_prompts=3"), Encoder(again.executor)
    drawn = drawn_texts(params, range(2, 3))
    with pytest.raises(InterruptedError):
        Session(params, executor, again.run).train(interrupted, final=False)
    assert "11 texts encoded; the text encoders are freed" in capsys.readouterr().err
    assert executor.texts == [*drawn, *held_out(params).texts, *held_out(for_report(params)).texts]


def test_going_on_with_another_code_or_torch_is_told(again, tracked, capsys):
    sessions = [{"started_at": 0.0, "first_round": 0, "code": "0123456789ab", "torch": versions()["torch"]}]
    write_sealed(again.run.path / "run.json", again.run.about | {"sessions": sessions})
    with pytest.raises(InterruptedError):
        session_of(again).train(interrupted)
    now = versions()["code"]
    told = (
        f"warning: run {again.run.key} continues with another code (0123456789ab before, {now} now): its later rounds"
    )
    said = capsys.readouterr().err
    assert told in said
    assert "another torch" not in said


@pytest.mark.parametrize("guard", ["time.hours=1e-9", "disk.free_gb=1e9"])
def test_a_guard_that_stops_ends_the_session_judged_finally_unless_the_disk_is_full(again, tracked, guard):
    (tracked / "exports" / f"{again.run.key[:8]}-r0002").mkdir(parents=True)  # nothing more is exported then
    with pytest.raises(GuardStopError, match=f"is stopped by the guard {guard.split('.')[0]} after round 2"):
        session_of(again, f"guards.{guard}").train(again.call, observers=[again])
    assert again.told[-1] == ("close", "guarded")
    judged_finally = ("evaluated", 2, "test") in again.told
    assert judged_finally == guard.startswith("time")


def test_a_rollback_goes_on_as_a_child_from_the_best_round_before_with_half_the_rate(again, tracked, capsys):
    """Of the rounds before the second only the base was judged: the child begins anew, and leaves the base in turn."""
    rolling = ("guards.kl.action=rollback", "guards.kl.most=1e-12", "guards.max_rollbacks=1", "run.rounds=2")
    with pytest.raises(GuardStopError, match=r"guards.max_rollbacks is reached: 1\."):
        session_of(again, *rolling).train(call_plainly, final=False)
    (child,) = [run for run in stored_runs() if run.parent]
    assert child.parent == {"key": again.run.key, "round": 0, "reason": "kl", "generation": 1}
    assert child.params().update.halved_after == (0,)
    assert [row["update/learning_rate"] for row in child.metrics()] == pytest.approx([5e-5, 5e-5])
    said = capsys.readouterr().err
    assert f"the guard kl rolls run {again.run.key} back to round 0: it continues as {child.key} with half" in said


def test_a_damaged_run_is_not_rolled_back_before_it_is_repaired(again, tracked):
    """Its best round might be another one, and the child another run."""
    rolling = ("guards.kl.action=rollback", "guards.kl.most=1e-12", "guards.max_rollbacks=1", "run.rounds=2")
    flip(again.run.round_folder(0) / "rewards/part-00000.parquet")
    with pytest.raises(
        ValueError, match="must be whole for the guard kl to roll it back .* got 1 damaged files. Run `g2"
    ):
        session_of(again, *rolling).train(call_plainly, final=False)
    assert [run for run in stored_runs() if run.parent] == []


def test_a_path_is_told_as_one_would_type_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert as_typed(tmp_path / "outputs/demo") == "outputs/demo"
    assert as_typed(Path("/elsewhere/demo")) == "/elsewhere/demo"
