"""The tiny presets as a newcomer runs them: the models made by a command, three rounds, all stages, pictures."""

import subprocess

import pytest
from tiny import ROOT

from stages.disk.tables import read_table
from stages.integrity.verify import verify
from stages.store.run import Run

FAMILIES = {"tiny-flux": "flux1", "tiny-sd3": "sd3.5"}


pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def workplace(tmp_path_factory):
    """A folder as of a fresh clone, in which the commands of the presets' headers have been given."""
    folder = tmp_path_factory.mktemp("workplace")
    for name in ("presets", "params.yaml"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def said(g2rpo, workplace, *words):
    done = subprocess.run(
        g2rpo.command(*words),
        cwd=workplace,
        env=g2rpo.environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def made(g2rpo, workplace):
    def make(*families):
        for family in families:
            if not (workplace / "outputs/tiny" / family).exists():
                said(g2rpo, workplace, "random-model", family, "--out", f"outputs/tiny/{family}")

    return make


@pytest.mark.parametrize("lora", ["adapter", "all weights"])
@pytest.mark.parametrize("preset", ["tiny-flux", "tiny-sd3"])
def test_a_tiny_preset_runs_three_rounds(g2rpo, workplace, made, preset, lora):
    made(FAMILIES[preset], "clip-hps")
    change = ["--set", "policy.lora=null"] if lora == "all weights" else []
    done = said(g2rpo, workplace, "train", "--params", f"presets/{preset}.yaml", *change)
    run = Run(g2rpo.run_folder())
    assert run.num_finished == 3
    assert verify(run) == []
    assert "texts encoded; the text encoders are freed" in done.stderr
    updates = [read_table(run.round_folder(number) / "updates") for number in range(3)]
    assert all(table["ratio_mean"].to_pylist() == [1.0] for table in updates)
    assert all(table["grad_norm"].to_pylist()[0] > 0 for table in updates)
    judged = read_table(run.evaluation_folder(3, "test") / "evaluations").to_pandas()
    assert set(judged["reward"]) == {"hps", "jpeg"}
    base = read_table(run.evaluation_folder(0, "test") / "pictures").to_pandas()
    aligned = read_table(run.evaluation_folder(3, "test") / "pictures").to_pandas()
    assert not base["image"].equals(aligned["image"])
    assert not [word for word in ("Loading", "[transformers]", "Warning", "it/s") if word in done.stderr]


def test_a_run_is_judged_and_reported_by_its_own_parameters(g2rpo, workplace, made, tmp_path):
    made("flux1", "clip-hps")
    said(g2rpo, workplace, "train", "--params", "presets/tiny-flux.yaml", "--set", "run.rounds=1")
    key = g2rpo.run_folder().name
    judged = said(g2rpo, workplace, "evaluate", "--run", key, "--out", str(tmp_path / "judged"))
    assert "hps: " in judged.stdout
    said(g2rpo, workplace, "report", "--run", key, "--out", str(tmp_path / "report"))
    assert (tmp_path / "report/held_out.csv").read_text().splitlines()[0] == "round,hps,jpeg"


def test_a_base_that_has_changed_is_not_gone_on_with(g2rpo, workplace, made):
    made("flux1", "clip-hps")
    short = ["train", "--params", "presets/tiny-flux.yaml", "--set", "run.rounds=1", "--no-final"]
    said(g2rpo, workplace, *short)
    key = g2rpo.run_folder().name
    config = workplace / "outputs/tiny/flux1/transformer/config.json"
    before = config.read_text()
    config.write_text(before + "\n")
    try:
        words = g2rpo.command("train", "--run", key, "--set", "run.rounds=2")
        done = subprocess.run(
            words,
            cwd=workplace,
            env=g2rpo.environment | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        config.write_text(before)
    assert done.returncode == 2
    assert "origins.policy" in done.stderr
