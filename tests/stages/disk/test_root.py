from pathlib import Path

import pytest

from stages.disk.root import store_root


@pytest.mark.parametrize(
    ("home", "dvc", "expected"),
    [
        (None, None, "here/.g2rpo"),
        ("", None, "here/.g2rpo"),
        ("store", None, "here/store"),
        (None, "repository", "repository/.g2rpo"),
        ("store", "repository", "repository/store"),
    ],
)
def test_the_store_lies_where_it_is_set_else_in_the_repository_or_here(tmp_path, monkeypatch, home, dvc, expected):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name, value in (("G2RPO_HOME", home), ("DVC_ROOT", dvc and str(tmp_path / dvc))):
        monkeypatch.setenv(name, value) if value is not None else monkeypatch.delenv(name, raising=False)
    assert store_root() == (tmp_path / expected).resolve()


def test_a_whole_path_is_taken_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", "/repository")
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path))
    assert store_root() == Path(tmp_path).resolve()
