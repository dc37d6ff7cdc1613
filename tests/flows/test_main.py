import runpy
import signal
import sys

import pytest


def test_the_package_is_run_as_the_command(monkeypatch, capsys):
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for name in ("TRANSFORMERS_VERBOSITY", "PREFECT_CLIENT_MAX_RETRIES"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(sys, "argv", ["g2rpo", "--help"])
    try:
        with pytest.raises(SystemExit) as ended:
            runpy.run_module("flows", run_name="__main__", alter_sys=False)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert ended.value.code == 0
    assert "Align flow-matching text-to-image models with human preferences" in capsys.readouterr().out
