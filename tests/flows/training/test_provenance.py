import subprocess

import pytest
import torch
from tiny import ROOT

from flows.training import provenance
from flows.training.provenance import origin_links, versions
from stages.disk.files import value_digest

EXPERIMENT = ("DVC_EXP_NAME", "DVC_EXP_BASELINE_REV")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of two files elsewhere, in which the module seems to lie."""
    for name in ("g2rpo/sde.py", "stages/score.py", "flows/training/provenance.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text("pass\n")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "flows/training/provenance.py"))
    for name in EXPERIMENT:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def git(folder, *words):
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", folder, *who, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def committed(folder, *files):
    git(folder, "init")
    git(folder, "add", *files)
    git(folder, "commit", "--message=first")


def test_the_code_is_named_by_a_digest_of_files():
    told = versions()
    assert told["torch"] == torch.__version__
    assert len(told["code"]) == 12
    assert told["code"] != value_digest([])[:12]  # of no file, as where the package is looked for in another folder


@pytest.mark.parametrize(
    ("file", "named"),
    [("g2rpo/sde.py", True), ("stages/score.py", True), ("stages/readme.txt", False), ("flows/cli.py", False)],
)
def test_another_code_is_one_that_makes_other_numbers(package, file, named):
    before = versions()["code"]
    (package / file).write_text("1\n")
    assert (versions()["code"] != before) == named


def test_a_checkout_is_named_by_its_commit_and_by_whether_it_was_changed_since(package):
    committed(package, ".")
    commit = git(package, "rev-parse", "HEAD")
    (package / "notes.txt").write_text("not git's\n")
    assert origin_links() == {"git_commit": commit, "git_dirty": "false"}
    (package / "g2rpo/sde.py").write_text("1\n")
    assert origin_links() == {"git_commit": commit, "git_dirty": "true"}


def test_a_package_that_lies_in_somebody_elses_repository_has_no_commit(package):
    assert origin_links() == {}
    committed(package, "g2rpo")
    assert origin_links() == {}


def test_a_checkout_of_another_owner_is_told_and_the_run_goes_on(package, monkeypatch, capsys):
    committed(package, ".")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    assert origin_links() == {}
    told = capsys.readouterr().err
    assert told.startswith("warning: the run cannot record its git commit: fatal: detected dubious ownership")
    assert told.endswith(f"To record it: git config --global --add safe.directory {package}\n")


def test_an_experiment_of_dvc_is_named(package, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "quick-fox")
    assert origin_links() == {"dvc_experiment": "quick-fox"}
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "0123")
    assert origin_links() == {"dvc_experiment": "quick-fox", "dvc_baseline": "0123"}


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_this_checkout_is_named_by_its_commit():
    links = origin_links()
    assert links["git_commit"] == git(ROOT, "rev-parse", "HEAD")
    assert links["git_dirty"] in ("true", "false")
