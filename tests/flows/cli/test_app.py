import json
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial

import pytest
from handmade import begun
from rounds import judged_finally
from said import said
from tiny import ROOT, TINY, tables

from flows.cli import app as command_line
from flows.cli.app import main
from flows.common.endings import GuardStopError, RunnersLostError
from flows.common.processes import free_port
from g2rpo.shapes_build import build as shapes_build
from g2rpo.shapes_build.build import Recipes
from g2rpo.shapes_build.train_base import BaseRecipe
from g2rpo.shapes_build.train_judges import JUDGE_RECIPES
from stages.disk.root import store_root
from stages.disk.tables import read_table
from stages.params.file import load_params
from stages.readings.metrics import evaluation_metrics
from stages.store.run import Run

SETS = [word for override in TINY for word in ("--set", override)]


@pytest.fixture
def ended(monkeypatch, capsys):
    """What `main` ends with when it is given words: its exit status and what it says on standard error."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for name in ("TRANSFORMERS_VERBOSITY", "PREFECT_CLIENT_MAX_RETRIES", "G2RPO_TRACEBACK"):
        monkeypatch.setenv(name, "1")
        monkeypatch.delenv(name)

    def ended(*words):
        monkeypatch.setattr(sys, "argv", ["g2rpo", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr().err

    yield ended
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_help_loads_no_heavy_package():
    code = (
        "import sys\nsys.argv = ['g2rpo', '--help']\n"
        "from flows.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'diffusers', 'prefect', 'mlflow', 'pandas', 'pyarrow', 'numpy', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(name in done.stdout for name in ("train", "stage", "trace", "demo", "shapes"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train", "--set", "rollout.group_size=1"], "rollout.group_size: input should be greater than or equal to 2"),
        (
            ["train", "--set", "evaluate.rewards=[rule_soft, beauty]"],
            "A reward for a model of the family shapes is one of",
        ),
        (["train", "--set", "evaluate.num_prompts=9999"], "evaluate.num_prompts: at most the"),
        (["train", "--set", "policy.path=/nowhere"], "policy.path: a folder with"),
        (["train", "--set", "prompts.num_prompts=9999"], "prompts.num_prompts: at most the 437 texts"),
        (["train", "--set", "tracking.uri=http://127.0.0.1:1"], "the MLflow server must answer at http://127.0.0.1:1"),
        (["train", "--params", "nowhere.yaml"], "does not exist. Correct --params FILE"),
        (
            ["stage", "rollout", "--run", "abcd", "--round", "0"],
            "A run is required whose key begins with 'abcd', or the folder of one, got none",
        ),
    ],
)
def test_bad_input_is_refused_before_anything_is_started(ended, store, words, told):
    status, error = ended(*words)
    assert status == 2
    assert error.startswith("error: ")
    assert told in error
    assert "Traceback" not in error
    assert not store.exists()


def test_a_refusal_has_a_traceback_where_one_is_asked_for(ended, monkeypatch):
    monkeypatch.setenv("G2RPO_TRACEBACK", "1")
    monkeypatch.setattr(sys, "argv", ["g2rpo", "verify", "--run", "abcd"])
    with pytest.raises(ValueError, match="A run is required whose key begins with 'abcd'"):
        main()


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (GuardStopError("the guard kl has ended run 3fa9"), 3, "the guard kl has ended run 3fa9\n"),
        (RunnersLostError("2 runners were lost"), 2, "error: 2 runners were lost\n"),
        (FloatingPointError("a NaN in the update"), 2, "error: a NaN in the update\n"),
        (ValueError("got \x1b]0;a title\a\nin two lines"), 2, "error: got \\x1b]0;a title\\x07\nin two lines\n"),
    ],
)
def test_the_exit_status_says_how_a_command_ended(ended, monkeypatch, error, status, told):
    def fail():
        raise error

    monkeypatch.setattr(command_line, "app", fail)
    assert ended("train") == (status, told)


def test_an_error_that_nobody_foresaw_is_one_line_and_a_log(ended, monkeypatch, store):
    def fail():
        raise KeyError("outputs")

    monkeypatch.setattr(command_line, "app", fail)
    status, error = ended("verify")
    (log,) = (store / "logs").iterdir()
    what = "an error that nobody foresaw: KeyError: 'outputs'"
    assert (status, error) == (1, f"error: {what}. Its log is {log}; please report it with this file.\n")
    assert 'raise KeyError("outputs")' in log.read_text()
    monkeypatch.setenv("G2RPO_TRACEBACK", "1")
    with pytest.raises(KeyError):
        main()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_as_an_exit_does(ended, number):
    assert ended("--help")[0] == 0
    with pytest.raises(SystemExit) as stopped:
        signal.raise_signal(number)
    assert stopped.value.code == 128 + number


def test_a_run_that_was_never_trained_cannot_be_judged_nor_reported():
    run, _ = begun()
    with pytest.raises(ValueError, match=f"Run {run.key} must have been evaluated on the test captions"):
        said("report", "--run", run.key)
    with pytest.raises(ValueError, match=f"Run {run.key} must have finished a round, got none. Train it first"):
        said("evaluate", "--run", run.key)


def test_a_stage_or_a_shard_that_does_not_exist_is_refused(run):
    with pytest.raises(ValueError, match="A stage is one of prompts, rollout"):
        said("stage", "paint", "--run", run.key, "--round", "0")
    with pytest.raises(ValueError, match="Shards are numbers separated by commas, got '0;2'. Example: --shards 0,2"):
        said("stage", "score", "--run", run.key, "--round", "0", "--shards", "0;2")


def test_a_stage_of_a_round_is_run_in_a_folder_of_its_own(store, tmp_path):
    told = said("one-round", "prompts", "--round", "3", "--folder", tmp_path / "round", *SETS)
    assert told.startswith("prompts of round 3 done in ")
    assert read_table(tmp_path / "round" / "prompts" / "prompts").num_rows == 4
    with pytest.raises(ValueError, match="--policy: a stored policy or the weights of policy.path are required"):
        said("one-round", "rollout", "--round", "3", "--folder", tmp_path / "round", "--policy", tmp_path, *SETS)
    assert not store.exists()


def test_a_demo_whose_server_does_not_start_says_so_with_its_log(store, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ValueError, match="The Prefect server must answer at .*, it did not. The end of"):
        said("demo", "--out", tmp_path / "demo", "--set", "run.seed=5", *SETS)
    assert load_params(tmp_path / "demo" / "params.yaml").run.seed == 5
    assert not (store / "runs").exists()  # the training begins the run


def test_what_cannot_be_logged_is_told_run_by_run(run):
    dead = f"http://127.0.0.1:{free_port()}"
    params = run.params()
    run.remember(params.with_values({"tracking.uri": dead}))
    assert said("sync").startswith(f"run {run.key} could not be logged: the MLflow server must answer at {dead}")
    with pytest.raises(ValueError, match="A run is required whose key begins with 'abcd'"):
        said("sync", "--run", "abcd")


def test_a_folder_that_holds_other_things_is_not_filled_with_hpsv2(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=f"must be new, empty, or made by this command, got {tmp_path}"):
        said("setup", "hps", "--folder", tmp_path)


def test_trace_prints_a_prompts_way(whole):
    name = read_table(whole.round_folder(1) / "prompts")["prompt_id"].to_pylist()[2]
    told = said("trace", "--run", whole.key, "--round", "1", "--prompt-id", name)
    assert all(word in told for word in (name, "anchor", "branches of step 1", "advantage", "optimizer step 1:"))
    with pytest.raises(ValueError, match=f"Round 0 has the prompts .*, got '{name}'"):
        said("trace", "--run", whole.key, "--round", "0", "--prompt-id", name)


def test_a_run_is_verified_repaired_pruned_and_adopted(whole, tmp_path):
    evaluations = 3 + len(judged_finally(whole))
    assert said("verify", "--run", whole.key[:8]) == f"run {whole.key} is whole: 2 rounds, {evaluations} evaluations\n"
    assert said("repair", "--run", whole.key[:8]) == f"run {whole.key} is whole, nothing was made again\n"
    assert said("prune", "--run", whole.key, "--rounds", "1").endswith("MB freed; the last 1 rounds keep everything\n")
    assert [(whole.round_folder(number) / "anchors").exists() for number in range(2)] == [False, True]
    whole.path.rename(tmp_path / "elsewhere")
    assert said("adopt", tmp_path / "elsewhere").splitlines() == [
        "model: shapes, 'the shipped weights'",
        "code, servers and variables: none",
        f"run {whole.key} is in the store with 2 rounds; each start of it checks them: {whole.path}",
    ]


def test_a_stage_run_alone_gives_the_same_tables(whole):
    before = tables(whole.path)
    for name in ("complete", "update"):
        told = said("stage", name, "--run", whole.key[:8], "--round", "1", "--force")
        assert told.startswith(f"{name} of round 1 done in ")
    assert said("stage", "score", "--run", whole.key, "--round", "1", "--shards", "1, 0", "--force").startswith("score")
    assert tables(whole.path) == before
    assert "was done already: rewards" in said("stage", "score", "--run", whole.key, "--round", "1")


def test_a_run_is_judged_and_reported(whole, mlflow, tmp_path):
    words = ["--run", whole.key, "--set", "report.num_prompts=2"]
    lines = said("evaluate", *words, "--out", tmp_path / "judged").splitlines()
    assert lines[0].startswith(f"run {whole.key} after 2 rounds, test captions, base -> aligned")
    found = json.loads((tmp_path / "judged" / "metrics.json").read_text())
    assert lines[1].startswith(f"  judge_a: {found['base']['judge_a']:.3f} -> {found['aligned']['judge_a']:.3f}")
    judged = read_table(tmp_path / "judged" / "base" / "evaluations")
    assert len(set(judged["prompt_id"].to_pylist())) == 2
    for more, base in (
        (["--evaluation", tmp_path / "judged"], found["base"]),
        ([], evaluation_metrics(whole.evaluation_folder(0, "test"))),
    ):
        out = tmp_path / f"report-{len(more)}"
        assert said("report", *words, "--out", out, *more) == f"{out / 'report.html'}\n"
        assert json.loads((out / "metrics.json").read_text())["base"] == base


def test_a_run_is_trained_linked_out_and_goes_on_by_its_key(mlflow, tmp_path):
    sets = [*SETS, "--set", "run.rounds=1", "--set", f"tracking.uri={mlflow}"]
    told = said("train", "--no-final", "--export", tmp_path / "out", *sets).splitlines()
    (folder,) = (store_root() / "runs").iterdir()
    run = Run(folder)
    assert told == [
        f"run {run.key} is done: {folder}",
        f"next: g2rpo report --run {run.key[:8]}, or g2rpo export --run {run.key[:8]} --to FOLDER",
    ]
    assert (run.num_finished, run.evaluations()) == (1, [(0, "tuning"), (1, "tuning")])
    assert Run(tmp_path / "out").key == run.key
    assert said("train", "--run", run.key[:6]).splitlines() == told
    assert run.evaluations() == [(0, "test"), (0, "tuning"), (1, "test"), (1, "tuning")]
    with pytest.raises(ValueError, match="continues only with the parameters that made it"):
        said("train", "--run", run.key[:6], "--set", "run.seed=5")
    assert said("sync").startswith(f"run {run.key}: 1 rounds and 4 evaluations are in MLflow run ")


def test_the_embedded_world_is_built_with_its_log(tmp_path, monkeypatch):
    judges = {name: replace(recipe, num_steps=1, batch_size=4) for name, recipe in JUDGE_RECIPES.items()}
    base = BaseRecipe(num_steps=1, batch_size=4, checkpoint_step=1)
    quick = partial(Recipes, base=base, judges=judges, threads=1, repeats=1, splits=())
    monkeypatch.setattr(shapes_build, "Recipes", quick)
    said("shapes", "build", "--out", tmp_path / "weights", "--log", tmp_path / "build.json")
    log = json.loads((tmp_path / "build.json").read_text())
    assert log["base"]["recipe"]["num_steps"] == 1
    assert all((tmp_path / "weights" / name).is_file() for name in log["weights"])
    assert {"judge_a.safetensors", "judge_b.safetensors"} < set(log["weights"])
