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


def test_a_command_that_fails_fails_as_it_would_and_one_that_is_done_goes_on(capsys):
    with pytest.raises(ValueError, match="refused"), stoppable():
        raise ValueError("refused")
    with stoppable():
        pass
    assert capsys.readouterr().err == ""
