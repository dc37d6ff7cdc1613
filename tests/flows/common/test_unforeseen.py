import logging
import stat
import tempfile
from pathlib import Path

import pytest
from prefect.logging.handlers import PrefectConsoleHandler

from flows.common.unforeseen import full_traceback, in_one_line, log_unforeseen, name_errors_in_one_line, on_terminal


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path / "store"))
    return tmp_path / "store"


def broken(message="outputs", kind=KeyError):
    try:
        raise kind(message)
    except kind as error:
        return error


def log_of(line):
    return Path(line.split("Its log is ")[1].split("; ")[0])


def test_the_user_gets_one_line_with_what_happened_the_log_and_a_request_to_report_it(store):
    line = log_unforeseen(broken())
    assert line.startswith(f"an error that nobody foresaw: KeyError: 'outputs'. Its log is {store}/logs/error-")
    assert line.endswith(".log; please report it with this file.")
    assert "\n" not in line


def test_the_log_has_the_traceback_the_command_and_the_system_and_only_its_owner_reads_it():
    log = log_of(log_unforeseen(broken()))
    text = log.read_text(encoding="utf-8")
    assert "in broken\n    raise kind(message)" in text
    assert text.endswith("KeyError: 'outputs'\n")
    assert {"command", "python", "system"} <= {line.partition(":")[0] for line in text.splitlines()}
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_store_that_cannot_be_written_to_has_its_log_in_the_temporary_folder(store, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store.write_text("no folder")
    assert log_of(log_unforeseen(broken())).parent == tmp_path


def test_an_error_without_a_place_for_its_log_is_told_all_the_same(store, monkeypatch):
    store.write_text("no folder")
    monkeypatch.setattr(tempfile, "tempdir", str(store))
    assert log_unforeseen(broken()).endswith("KeyError: 'outputs'. Please report it.")


def test_a_long_message_of_many_lines_is_cut_to_one():
    line = in_one_line(broken("a\n" * 1000, RuntimeError))
    assert line.startswith("RuntimeError: a a a ")
    assert len(line) == 301


def test_the_text_of_others_reaches_neither_terminal_nor_log_as_commands():
    text = log_of(log_unforeseen(broken("\x1b[2J\x9b\u202e\udcff ü 猫\0", RuntimeError))).read_text(encoding="utf-8")
    assert text.endswith(r"RuntimeError: \x1b[2J\x9b\u202e\udcff ü 猫\x00" + "\n")


def test_a_login_in_an_address_is_hidden():
    assert on_terminal("postgresql://lead:p@ss/word@db/mlflow is gone\n") == "postgresql://***@db/mlflow is gone\n"


def test_a_traceback_of_any_length_becomes_a_log_of_a_bounded_one():
    text = full_traceback(broken("a" * 1_000_000, RuntimeError))
    assert len(text) < 201_000
    assert text.startswith("Traceback")
    assert "characters left out" in text


def test_prefects_console_names_an_error_without_its_traceback(capsys, caplog):
    console = PrefectConsoleHandler()
    root = logging.getLogger()
    root.handlers.insert(0, console)
    try:
        name_errors_in_one_line()
        name_errors_in_one_line()
        root.error("Encountered exception: %r", broken(), exc_info=broken())
    finally:
        root.removeHandler(console)
    told = capsys.readouterr().err
    assert "Encountered exception: KeyError('outputs')" in told
    assert "Traceback" not in told
    assert "Traceback" in caplog.text  # a handler that comes after, such as a file, still has it
