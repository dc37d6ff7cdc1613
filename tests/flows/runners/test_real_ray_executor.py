"""Two real Ray actors against one process, and what they do when one is lost."""

import contextlib
import signal
import subprocess
import threading

import psutil
import pytest
import ray
import torch
from closeness import close_runs, close_table
from command_line import CommandLine
from processes import processes_with
from random_bases import tiny_latent_params
from tiny import ROOT, tiny_params
from waiting import wait_for

from flows.common.endings import GuardStopError, RunnersLostError
from flows.doctor.cluster import cluster as cluster_checks
from flows.observers.observer import Observer
from flows.runners.choice import at_work, executor_for
from flows.runners.ray_cluster import start_here
from flows.runners.ray_pool import Pool
from flows.training.forecast import forecast_run
from flows.training.loop import call_plainly
from flows.training.session import Session
from stages.contract.declared_stages import STAGES
from stages.disk.policy_state import policy_state
from stages.disk.tables import read_table, tensor
from stages.integrity.verify import verify
from stages.readings.metrics import finished_manifest

ROUNDS = ("run.rounds=3", "prompts.num_prompts=8")
TWO = ("placement.runner=ray", "placement.num_runners=2")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """One cluster for the module; each run has runners of its own."""
    start_here(4)
    yield
    ray.shutdown()


def trained(monkeypatch, home, *overrides, observers=()):
    """A run in a store of its own."""
    monkeypatch.setenv("G2RPO_HOME", str(home))
    session = Session.of(tiny_params(*ROUNDS, *overrides))
    return session.train(call_plainly, observers=observers)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """Three rounds in this process."""
    with pytest.MonkeyPatch.context() as patch:
        yield trained(patch, tmp_path_factory.mktemp("local") / "store").path


@pytest.mark.slow
def test_two_runners_make_what_one_process_makes(monkeypatch, tmp_path, local):
    run = trained(monkeypatch, tmp_path / "store", *TWO).path
    assert run.name == local.name
    tables, policies = close_runs(local, run)
    assert tables >= 42  # 44 where the best round is neither base nor last
    assert policies == 3
    for number in range(3):  # noise to the last bit
        for table, column in (("prompts", "noise_seed"), ("transitions", "seed")):
            mine, others = (read_table(path / f"rounds/{number:04d}" / table)[column] for path in (run, local))
            assert mine.equals(others)
        starts = [read_table(path / f"rounds/{number:04d}/anchors") for path in (run, local)]
        first = [tensor(rows.filter([step == 0 for step in rows["step"].to_pylist()]), "latents") for rows in starts]
        assert (first[0] == first[1]).all()


@pytest.mark.slow
def test_runners_of_their_own_judge_pictures(monkeypatch, tmp_path, local):
    scorers = "placement.scorers={num_runners: 1, gpus_per_runner: 0, resource: null}"
    given: dict[str, list[Pool]] = {}
    submit = Pool.submit

    def seen(pool, kind, shard, call):
        given.setdefault(kind, []).append(pool)
        return submit(pool, kind, shard, call)

    monkeypatch.setattr(Pool, "submit", seen)
    run = trained(monkeypatch, tmp_path / "store", *TWO, scorers).path
    close_runs(local, run)
    assert len({id(pool) for pool in given["score"]}) == 1
    assert given["score"][0] is not given["rollout"][0]
    assert len(given["score"]) == len(given["complete"])  # scored once, ahead, and not again in its turn


class Killer(Observer):
    """Kills a runner by SIGKILL at given stages of given rounds, shortly after each has begun."""

    def __init__(self, *stages):
        self.left = set(stages)

    def stage_started(self, stage, number):
        if (stage, number) in self.left:
            self.left.remove((stage, number))
            threading.Timer(0.05, kill_one).start()


def runner_processes():
    """Those of the module's own cluster, which this process has started."""
    return [p for p in psutil.Process().children(recursive=True) if is_runner(p)]


def is_runner(process):
    with contextlib.suppress(psutil.Error):
        return "".join(process.cmdline()).startswith("ray::RayActor")
    return False


def kill_one():
    if there := runner_processes():
        there[0].kill()


@pytest.mark.slow
def test_a_runner_killed_in_each_stage_costs_time_and_nothing_else(monkeypatch, tmp_path, local, capsys):
    stages = ["rollout", "complete", "score", "update", "evaluate"]
    killer = Killer(*((stage, 1) for stage in stages))
    run = trained(monkeypatch, tmp_path / "store", *TWO, "placement.max_restarts=10", observers=[killer])
    assert not killer.left
    assert capsys.readouterr().err.count("a runner was lost, another one starts") >= 3
    close_runs(local, run.path)


@pytest.mark.slow
def test_too_many_lost_runners_end_the_stage_and_say_why(monkeypatch, tmp_path, local):
    store = tmp_path / "store"
    with pytest.raises(RunnersLostError, match=r"(?s)placement.max_restarts, got 1; the last: .*same command again"):
        trained(monkeypatch, store, *TWO, "placement.max_restarts=0", observers=[Killer(("update", 1))])
    wait_for(lambda: not runner_processes())  # Ray ends them once it is told, a moment later
    close_runs(local, trained(monkeypatch, store, *TWO).path)


@pytest.mark.slow
def test_a_round_ahead_is_painted_by_the_policy_of_the_round_before(monkeypatch, tmp_path, local):
    stale = ("placement.staleness=1", "placement.update_runners=1")
    run = trained(monkeypatch, tmp_path / "store", *TWO, *stale)
    assert run.key != local.name
    close_table(run.round_folder(0) / "updates", local / "rounds/0000/updates")  # nobody was before
    painted = [
        finished_manifest(run.round_folder(n), STAGES["rollout"])["inputs"]["behaviour_policy"] for n in range(3)
    ]
    assert painted == [policy_state(run.policy_folder(n)).digest for n in (0, 0, 1)]
    for number in (1, 2):
        folder = run.round_folder(number)
        old = read_table(folder / "old_log_probs")["log_prob_old"].to_numpy()
        assert (old == read_table(folder / "transitions")["log_prob"].to_numpy()).all()
        first = read_table(folder / "updates").to_pylist()[0]
        assert first["ratio_min"] < 1 < first["ratio_max"]
        assert first["clip_frac"] > 0
    again = trained(monkeypatch, tmp_path / "again", *TWO, *stale)
    close_runs(run.path, again.path)
    assert verify(run) == []


@pytest.mark.slow
def test_the_flow_is_killed_its_runners_end_and_another_goes_on_under_prefect(g2rpo, prefect_api, local):
    words = [*ROUNDS, *TWO]
    process = subprocess.Popen(
        g2rpo.train_command(*words), cwd=ROOT, env=g2rpo.environment, stderr=subprocess.DEVNULL, start_new_session=True
    )
    wait_for(lambda: g2rpo.rounds() == 1)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    entry = f"G2RPO_HOME={g2rpo.store}"
    wait_for(lambda: not processes_with(entry))  # Ray's agents look for their parent once in a while
    g2rpo.train(*words, **prefect_api)
    close_runs(local, g2rpo.run_folder())
    wait_for(lambda: not processes_with(entry))


@pytest.mark.slow
def test_a_runner_has_the_store_of_the_flow_and_not_that_of_the_cluster(monkeypatch, tmp_path):
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path / "store"))  # set after the cluster was started
    with at_work(executor_for(tiny_latent_params("flux1", *TWO))) as executor:
        assert executor.encode(["a red circle"]) == 1
    assert len(list((tmp_path / "store/embeddings").rglob("*.parquet"))) == 1


def found(*overrides):
    return {
        (check.name, check.state): f"{check.message}. {check.remedy}"
        for check in cluster_checks(tiny_params(*overrides))
    }


def test_a_doctor_looks_at_the_cluster(monkeypatch, tmp_path):
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path / "store"))
    assert found() == {("cluster", "ok"): "none is required: all stages run in one process. "}
    good = found(*TWO)
    assert good.pop(("cluster", "ok")) == "the runners take CPU 2 of 4. "
    ((node, state),) = good
    assert (node.split()[0], state) == ("node", "ok")
    scorers = "placement.scorers={num_runners: 2, gpus_per_runner: 0, resource: l4}"
    short = found("placement.runner=ray", "placement.num_runners=9", scorers)["cluster", "fault"]
    assert "CPU 11 of 4, l4 2 of 0" in short
    assert "placement.num_runners" in short
    monkeypatch.setattr("flows.doctor.cluster.version", lambda name: "2.0+cu130")
    other = next(told for (name, state), told in found(*TWO).items() if state == "fault" and name.startswith("node"))
    assert f"torch {torch.__version__.partition('+')[0]}, here 2.0" in other


@pytest.mark.slow
def test_a_cluster_that_does_not_answer_is_told_before_anything_is_waited_for(tmp_path):
    words = ["--set", "placement.runner=ray", "--set", "placement.address=127.0.0.1:1"]
    told = CommandLine(tmp_path / "store")("train", *words)
    assert told.returncode == 2
    assert "placement.address: a Ray cluster is required at 127.0.0.1:1" in told.stderr
    assert "ray start --head" in told.stderr


@pytest.mark.slow
def test_a_plan_counts_the_devices_of_the_runners(monkeypatch, tmp_path):
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path / "store"))
    told = forecast_run(tiny_params(*TWO), measure=True)
    assert told.num_devices == 2
    assert told.seconds > 0
    values = told.values(3600.0)
    assert values["device_hours"] == pytest.approx(2 * told.seconds / 3600, abs=1e-3)
    assert values["price"] == pytest.approx(2 * told.seconds, abs=0.01)


@pytest.mark.slow
def test_a_guard_stops_a_run_whose_runners_compute_no_numbers(monkeypatch, tmp_path):
    with pytest.raises(GuardStopError, match="is stopped by the guard non_finite after round"):
        trained(monkeypatch, tmp_path / "store", *TWO, "update.learning_rate=1e9")
    wait_for(lambda: not runner_processes())  # Ray ends them once it is told, a moment later
