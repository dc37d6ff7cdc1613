import os
import subprocess

import pytest

from flows.doctor.check import Check
from flows.doctor.project import versioning


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder, from which all is started."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def dvc(tmp_path, monkeypatch):
    """Puts a `dvc` on the path that answers to two questions; DVC itself takes seconds to do so."""

    def answer(remotes, links):
        tool = tmp_path / "bin" / "dvc"
        tool.parent.mkdir()
        tool.write_text(f'#!/bin/sh\ncase "$*" in "remote list") {remotes};; "config cache.type") {links};; esac\n')
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")

    return answer


def test_a_folder_without_git_and_dvc_is_warned_of(folder):
    git, dvc = versioning()
    assert (git.name, git.state, git.remedy) == ("git", "warn", "git init")
    assert git.message == "this folder is no git repository: runs cannot record their commit"
    assert (dvc.name, dvc.state, dvc.remedy) == ("dvc", "warn", "dvc init")
    assert "`dvc repro` does not work here" in dvc.message


def test_a_repository_with_a_commit_is_in_order(folder):
    identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost", "-c", "commit.gpgsign=false"]
    for words in (["init", "--quiet"], [*identity, "commit", "--quiet", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    assert next(versioning()) == Check("git", "ok", "a repository")


def test_a_repository_of_another_owner_is_told_with_gits_remedy(folder, monkeypatch):
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    git = next(versioning())
    assert (git.name, git.state) == ("git", "warn")
    assert git.message.startswith("runs cannot record their commit: fatal: detected dubious ownership")
    assert git.remedy == f"git config --global --add safe.directory {folder}"


def test_dvc_without_a_remote_has_nowhere_to_push_to(folder, dvc):
    (folder / ".dvc").mkdir()
    dvc("true", "echo hardlink")
    found = list(versioning())[-1]
    assert (found.name, found.state) == ("dvc", "warn")
    assert found.message == "no remote: `dvc push` has nowhere to go"
    assert found.remedy.startswith("dvc remote add --default")


@pytest.mark.parametrize(("links", "told"), [("echo hardlink", "hardlink"), ("exit 251", "reflink, copy")])
def test_with_a_remote_the_kind_of_its_links_is_told(folder, dvc, links, told):
    (folder / ".dvc").mkdir()
    dvc("echo disk /mnt/shared", links)
    assert list(versioning())[-1] == Check("dvc", "ok", f"cache links: {told}")
