import subprocess
import sys

import pytest
from tiny import ROOT, tables


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
    ("words", "said"),
    [
        (
            ["train", "--set", "rollout.group_size=1"],
            "rollout.group_size: input should be greater than or equal to 2",
        ),
        (
            ["train", "--set", "evaluate.rewards=[rule_soft, beauty]"],
            "A reward for a model of the family shapes is one of",
        ),
        (["train", "--set", "evaluate.num_prompts=9999"], "evaluate.num_prompts: at most the"),
        (["train", "--set", "policy.path=/nowhere"], "policy.path: a folder with"),
        (
            ["train", "--set", "prompts.num_prompts=9999"],
            "prompts.num_prompts: at most the 437 texts",
        ),
        (["train", "--set", "tracking.uri=http://127.0.0.1:1"], "the MLflow server must answer at http://127.0.0.1:1"),
        (["train", "--params", "nowhere.yaml"], "does not exist. Correct --params FILE"),
        (
            ["stage", "rollout", "--run", "abcd", "--round", "0"],
            "A run is required whose key begins with 'abcd', or the folder of one, got 0",
        ),
    ],
)
def test_bad_input_is_refused_before_anything_is_started(g2rpo, words, said):
    done = g2rpo(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not g2rpo.store.exists()


@pytest.mark.slow
def test_a_stage_run_alone_gives_the_same_tables(trained):
    folder = trained.run_folder()
    before = tables(folder)
    for name in ("complete", "update"):
        done = trained("stage", name, "--run", folder.name[:8], "--round", "1", "--force")
        assert done.returncode == 0, done.stderr
        assert f"{name} of round 1 done in" in done.stdout
    assert tables(folder) == before
    again = trained("stage", "score", "--run", folder.name, "--round", "1")
    assert "was done already: rewards" in again.stdout


def test_a_stage_that_does_not_exist_is_refused(trained):
    done = trained("stage", "paint", "--run", trained.run_folder().name, "--round", "0")
    assert done.returncode == 2
    assert "A stage is one of prompts, rollout" in done.stderr


def test_trace_prints_a_prompts_way(trained):
    listing = trained("trace", "--run", trained.run_folder().name, "--round", "0", "--prompt-id", "?")
    name = listing.stderr.split("paints the prompts ")[1].split(",")[0]
    done = trained("trace", "--run", trained.run_folder().name, "--round", "0", "--prompt-id", name)
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in ("anchor", "branches of step 1", "advantage", "optimizer step 0"))
