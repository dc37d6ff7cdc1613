import os
import signal
import subprocess
from functools import partial

import pytest
from processes import processes_with
from tiny import ROOT
from waiting import wait_for


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_demo_that_is_stopped_leaves_no_process(g2rpo, tmp_path, number):
    words = [word for word in g2rpo.train_command("run.rounds=1000")[3:] if word != "train"]
    command = g2rpo.command("demo", "--out", str(tmp_path / "demo"), *words)
    demo = subprocess.Popen(
        command,
        cwd=ROOT,
        env=g2rpo.environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  a shell's `&` ignores it
    )
    try:
        wait_for(lambda: list(g2rpo.store.glob("runs/*/rounds/0000/update.json")), 300)
        if number == signal.SIGINT:
            os.killpg(demo.pid, number)  # as a terminal does
        else:
            os.kill(demo.pid, number)
        _, said = demo.communicate(timeout=120)
        wait_for(lambda: not processes_with(f"G2RPO_HOME={g2rpo.store}"), 60)
    finally:
        demo.kill()
    if number == signal.SIGINT:
        assert demo.returncode == 130
        assert "stopped; give the same command again to go on" in said
