import subprocess

import pytest

from flows.common.git import GitError, git, repository


@pytest.fixture
def checkout(tmp_path):
    subprocess.run(["git", "init", "--quiet", tmp_path / "own"], check=True)
    (tmp_path / "own/deep/er").mkdir(parents=True)
    return tmp_path / "own"


def test_git_is_asked_in_a_folder(checkout):
    (checkout / "new").touch()
    assert git(checkout, "status", "--porcelain") == "?? new"


def test_a_repository_is_found_from_within_it(checkout, tmp_path):
    assert repository(checkout) == repository(checkout / "deep/er") == checkout
    assert repository(tmp_path) is None


def test_a_repository_of_another_owner_is_told_with_gits_own_remedy(checkout, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    with pytest.raises(GitError, match="dubious ownership") as refused:
        git(checkout / "deep", "rev-parse", "HEAD")
    assert refused.value.remedy == f"git config --global --add safe.directory {checkout}"


def test_another_refusal_is_told_in_gits_words(checkout):
    with pytest.raises(GitError, match="fatal: ambiguous argument 'HEAD'") as refused:
        git(checkout, "rev-parse", "HEAD")
    assert refused.value.remedy == "Correct this in the repository."


def test_a_machine_without_git_is_told(checkout, monkeypatch):
    monkeypatch.setenv("PATH", str(checkout))
    with pytest.raises(GitError, match="git cannot be run: .*No such file") as refused:
        git(checkout, "rev-parse", "HEAD")
    assert refused.value.remedy == "Install git."
