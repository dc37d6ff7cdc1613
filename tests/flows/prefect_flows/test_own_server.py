import stat
import sys
import urllib.error
import urllib.request

import pytest
from played_python import played_python

from flows.prefect_flows.own_server import prefect_server


def test_a_server_answers_within_the_block_from_files_in_its_folder_and_is_gone_after_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", played_python(tmp_path))
    with prefect_server(tmp_path / "home") as server:
        url, login = server["PREFECT_API_URL"], server["PREFECT_API_AUTH_STRING"]
        with urllib.request.urlopen(f"{url}/health") as answer:
            assert answer.status == 200
        port = url.removeprefix("http://127.0.0.1:").removesuffix("/api")
        assert (tmp_path / "home/server.log").read_text() == f"a server at {port}\n"
        words = f"-m prefect server start --host 127.0.0.1 --port {port}"
        assert (tmp_path / "told.txt").read_text() == f"{words}, {tmp_path / 'home'}, no api, {login}\n"
        assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{url}/health")


def test_a_server_ends_with_what_fails_under_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", played_python(tmp_path))
    with pytest.raises(RuntimeError, match="stage"), prefect_server(tmp_path / "home") as server:
        raise RuntimeError("stage")
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{server['PREFECT_API_URL']}/health")


def test_a_server_that_does_not_start_is_told_with_the_end_of_its_log(tmp_path, monkeypatch):
    python = played_python(tmp_path, server="seq 20; echo the database is locked; exit 3")
    monkeypatch.setattr(sys, "executable", python)
    told = r"(?s)must answer at http://127.0.0.1:\d+/api/health, .* The end of .*server.log:\n12\n.*database is locked$"
    with pytest.raises(ValueError, match=told), prefect_server(tmp_path / "home"):
        pass
