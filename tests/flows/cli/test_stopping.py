import pytest
import typer

from flows.cli.stopping import stoppable
from flows.common.endings import StopRequestedError


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyboardInterrupt(), "stopped; run the same command again to continue\n"),
        (StopRequestedError("run 3fa9 is stopped on request"), "run 3fa9 is stopped on request\n"),
    ],
)
def test_a_command_that_is_stopped_exits_with_130_and_a_word_on_how_to_go_on(error, told, capsys):
    with pytest.raises(typer.Exit) as ended, stoppable():
        raise error
    assert ended.value.exit_code == 130
    assert capsys.readouterr().err == told


@pytest.mark.parametrize(("status", "name"), [(143, "SIGTERM"), (129, "SIGHUP")])
def test_a_command_that_a_signal_ends_says_how_to_go_on(status, name, capsys):
    with pytest.raises(SystemExit) as ended, stoppable():
        raise SystemExit(status)
    assert ended.value.code == status
    assert capsys.readouterr().err == f"stopped by {name}; run the same command again to continue\n"


def test_a_command_whose_terminal_is_gone_ends_with_its_status(monkeypatch):
    def gone(text):
        raise OSError("Input/output error")

    monkeypatch.setattr("sys.stderr.write", gone)
    with pytest.raises(SystemExit) as ended, stoppable():
        raise SystemExit(129)
    assert ended.value.code == 129


def test_a_command_that_fails_fails_as_it_would_and_one_that_is_done_goes_on(capsys):
    with pytest.raises(ValueError, match="refused"), stoppable():
        raise ValueError("refused")
    with stoppable():
        pass
    assert capsys.readouterr().err == ""
