"""The demo: the default run under a temporary Prefect server, and its results."""

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flows.common.endings import GUARDED
from flows.common.escape import cell, say
from flows.common.processes import end_with_parent, quiet_environment
from flows.prefect_flows.own_server import prefect_server
from flows.report.final import FinalEvaluations, Report, write_report
from flows.training.session import as_typed, ready
from stages.disk.root import store_root
from stages.params.file import written
from stages.params.record import Params
from stages.store.child_run import last_descendant
from stages.store.fingerprint import Fingerprint
from stages.store.run import run_of


def run_demo(params: Params, out: Path) -> None:
    """Train under a local Prefect server, write the report into `out`, print the results and ways to inspect them.

    `g2rpo train` runs in another process, so that it has sent everything to the server before the server stops.
    Nothing keeps running.
    """
    started = run_of(Fingerprint.of(params, ready(params).device.type))
    folder = store_root() / "prefect"
    out.mkdir(parents=True, exist_ok=True)
    (out / "params.yaml").write_text(written(params), encoding="utf-8")
    with prefect_server(folder) as server:
        quiet = server | {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING"}
        command = [sys.executable, "-m", "flows", "train", "--params", str(out / "params.yaml")]
        environment = quiet_environment(folder) | quiet
        end = partial(end_with_parent, signal.SIGKILL)  # without its server it would not end by itself
        code = _wait(subprocess.Popen(command, env=environment, preexec_fn=end))  # noqa: PLW1509
    if code < 0:
        say(f"training was ended by signal {-code}; run the same command again to resume", file=sys.stderr)
        sys.exit(128 - code)
    if code not in (0, GUARDED):
        sys.exit(code)
    run = last_descendant(started)  # after a rollback the child
    _show(write_report(run, params, FinalEvaluations.within(run, params), out), params, out)
    sys.exit(code)


def _wait(training: "subprocess.Popen[bytes]") -> int:
    """Return the exit status of the training; if this process is stopped, first let the training end."""
    try:
        return training.wait()
    except BaseException as stopped:
        if not isinstance(stopped, KeyboardInterrupt):  # which the terminal sends to both
            training.terminate()
        try:
            training.wait(timeout=20)
        except subprocess.TimeoutExpired:
            training.kill()
        raise


def _show(report: Report, params: Params, out: Path) -> None:
    table = Table(title=f"base and aligned policy, {report.details['split']} captions")
    best = report.details["best_round"]
    other = [f"best, round {best}"] if best != report.details["rounds"] else []
    for column in ("reward", "base", "aligned", "change", *other):
        table.add_column(column, justify="left" if column == "reward" else "right")
    for name, base in report.base.items():
        aligned = report.aligned[name]
        trained = " (trained on)" if name in params.score.rewards else ""
        more = [f"{report.best[name]:.3f}" for _ in other]
        table.add_row(cell(name + trained), f"{base:.3f}", f"{aligned:.3f}", f"{aligned - base:+.3f}", *more)
    Console(width=100).print(table)
    for name in ("metrics.json", "report.html", "before_after.png", "curves.png"):
        say(as_typed((out / name).resolve()))
    binaries = as_typed(Path(sys.executable).parent)
    say(f"\nTo inspect run {report.details['run_key']}, start the servers:  {binaries}/g2rpo up")
    say("They print their addresses, and where their login is. Open")
    say(f"  on Prefect's page  /runs/flow-run/{report.details['prefect_flow_run_id']}")
    say(f"  on MLflow's page   experiment {params.tracking.experiment!r}")
