"""The command line. Heavy packages are imported inside the commands, so that --help is fast."""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.compare import comparing
from flows.cli.doctor import doctoring
from flows.cli.models import models
from flows.cli.options import Overrides, ParamsFile, Round, RunKey, RunsParams, checked, params_for
from flows.cli.plan import planning
from flows.cli.runs import runs
from flows.cli.services import services
from flows.cli.signal import signals
from flows.cli.stopping import STOPPING, stoppable
from flows.common.endings import GUARDED, GuardStopError, RunnersLostError, end_without_server
from flows.common.environment import settle_environment
from flows.common.escape import say
from flows.common.unforeseen import log_unforeseen, on_terminal
from stages.disk.files import StoreWriteError

app = typer.Typer(
    name="g2rpo",
    help="Align flow-matching text-to-image models with human preferences by G²RPO (arXiv:2510.01982).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
setup = typer.Typer(help="Install what some rewards need beside this package.", no_args_is_help=True)
shapes = typer.Typer(help="The shapes world, the small model that the package contains.", no_args_is_help=True)
app.add_typer(shapes, name="shapes")
app.add_typer(setup, name="setup")
app.add_typer(models)
app.add_typer(comparing)
app.add_typer(signals)
app.add_typer(services)
app.add_typer(runs)
app.add_typer(planning)
app.add_typer(doctoring)


@app.command()
def train(
    params: Annotated[Path | None, typer.Option("--params", help="The parameter file. Default: params.yaml.")] = None,
    overrides: Overrides = None,
    run: Annotated[
        str | None,
        typer.Option("--run", help="Continue only this run, with its own parameters unless --params is set."),
    ] = None,
    export: Annotated[Path | None, typer.Option(help="Folder to link the finished run into.")] = None,
    final: Annotated[bool, typer.Option(help="Evaluate base, best and last policy on report.split at the end.")] = True,
) -> None:
    """Align a policy: start the run of these parameters, or continue it, until run.rounds.

    With a configured Prefect API each stage call is a task; without one the same loop calls the stages directly.
    """
    named = parsed = None
    if run is not None:
        from flows.upkeep.store_commands import find_whole, own_params

        named = find_whole(run)
        parsed = None if params else own_params(named, overrides or [])
    parsed = parsed or checked(params or Path("params.yaml"), overrides)
    with stoppable():
        from flows.prefect_flows.start import start

        started = start(parsed, named=named, final=final, out=export)
    key = started.run_key
    say(f"run {key} is done: {started.folder}")
    say(f"next: g2rpo report --run {key[:8]}, or g2rpo export --run {key[:8]} --to FOLDER")


@app.command()
def evaluate(
    run: RunKey,
    params: RunsParams = None,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Folder for the tables and metrics.json.")] = Path("outputs/evaluation"),
) -> None:
    """Evaluate base, best and last policy of a run, by the sections evaluate and report of the parameters."""
    parsed = params_for(run, params, overrides)
    from flows.training.evaluation import evaluate_run

    say(evaluate_run(run, parsed, out))


@app.command()
def report(
    run: RunKey,
    params: RunsParams = None,
    overrides: Overrides = None,
    evaluation: Annotated[
        Path | None, typer.Option(help="Folder that `g2rpo evaluate` wrote. Default: the run's own evaluations.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("outputs/report"),
) -> None:
    """Write the report of a run: an HTML page, pictures, curves, and the numbers as JSON and CSV."""
    parsed = params_for(run, params, overrides)
    from flows.training.evaluation import report_run

    say(report_run(run, parsed, evaluation, out))


@app.command()
def stage(
    name: Annotated[str, typer.Argument(help="prompts, rollout, complete, score, integrate, update or evaluate.")],
    run: RunKey,
    number: Round,
    shards: Annotated[str | None, typer.Option(help="Shards to compute, e.g. 0,2. Default: all.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Compute existing outputs again; the tables come out equal.")
    ] = False,
) -> None:
    """Run a single stage of one round."""
    from flows.training.one_stage import run_alone

    if shards is not None and not all(shard.strip().isdigit() for shard in shards.split(",")):
        raise ValueError(f"Shards are numbers separated by commas, got {shards!r}. Example: --shards 0,2.")
    numbers = None if shards is None else [int(shard) for shard in shards.split(",")]
    say(run_alone(name, run, number, shards=numbers, force=force))


@app.command("one-round")
def one_round(
    name: Annotated[str, typer.Argument(help="prompts, rollout, complete, score, integrate or update.")],
    number: Round,
    *,
    folder: Annotated[Path, typer.Option(help="Folder of the round, with one folder per stage.")] = Path(),
    policy: Annotated[Path | None, typer.Option(help="Stored policy to start from. Default: the base.")] = None,
    params: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Run one stage of a round in a folder outside the store."""
    parsed = checked(params, overrides)
    from flows.training.one_round import run_in_folder

    say(run_in_folder(name, folder, number, policy, parsed))


@app.command()
def trace(
    run: RunKey,
    number: Round,
    prompt_id: Annotated[str, typer.Option("--prompt-id", help="Id in the prompts table, e.g. train-0042-000.")],
) -> None:
    """Print how one prompt passed through a round: anchor, branches, rewards, summands, advantages, update."""
    from stages.readings.trace import trace_prompt
    from stages.store.run import find_run

    say(trace_prompt(find_run(run), number, prompt_id))


@app.command()
def demo(
    params: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("outputs/demo"),
) -> None:
    """Train the run of these parameters under a local Prefect server and write a report with pictures."""
    parsed = checked(params, overrides)
    with stoppable():
        from flows.prefect_flows.demo import run_demo

        run_demo(parsed, out)


@app.command()
def verify(run: RunKey) -> None:
    """Check every file of a run against its manifests, and the manifests against each other."""
    from flows.upkeep.store_commands import verified

    say(verified(run))


@app.command()
def repair(run: RunKey) -> None:
    """Compute every damaged file of a run again, also in rounds that further training does not need."""
    from flows.training.repair_run import repaired

    say(repaired(run))


@app.command()
def prune(
    run: RunKey,
    rounds: Annotated[int | None, typer.Option(min=1, help="Overrides the run's retention.rounds.")] = None,
) -> None:
    """Delete latents and policies of earlier rounds; scores, advantages and metrics stay."""
    from flows.upkeep.store_commands import pruned

    say(pruned(run, rounds))


@app.command()
def sync(
    run: Annotated[str | None, typer.Option("--run", help="The run's key. Default: all runs.")] = None,
) -> None:
    """Log to MLflow what is missing there of one run, or of all runs in the store."""
    from flows.tracking.backfill import synced

    for line in synced(run):
        say(line)


@app.command()
def adopt(folder: Annotated[Path, typer.Argument(help="A run outside the store.")] = Path("outputs/run")) -> None:
    """Add a run outside the store, e.g. from `dvc pull`, to the store, so that you can continue it."""
    from flows.upkeep.store_commands import adopted

    say(adopted(folder, say))


@setup.callback()
def _setup() -> None:
    """Install what some rewards need beside this package."""


@setup.command("hps")
def setup_hps_folder(
    folder: Annotated[Path, typer.Option(help="Folder to create, for `rewards.NAME.folder` with `backend: hpsv2`.")],
) -> None:
    """Install the package hpsv2 into a separate folder, from which it scores in a separate process."""
    from flows.upkeep.setup_hps import setup_hps

    say(setup_hps(folder))


@shapes.command()
def build(
    out: Annotated[Path, typer.Option(help="Folder to write the weights to.")] = Path("outputs/shapes"),
    log: Annotated[Path | None, typer.Option(help="File to write the build log to.")] = None,
) -> None:
    """Train the base policy and the judges of the shapes world again, as the shipped ones were."""
    from g2rpo.shapes_build.build import build

    build(out, log=log)


def main() -> None:
    """Run the command line; an invalid input prints what is required, what was given and what to do.

    SIGTERM and SIGHUP end it as an exit does, so that its servers and processes end with it. The exit status is 2 for
    an invalid input, 3 when a guard has stopped the run, and 1 for an error that nobody foresaw, whose traceback goes
    to a log. G2RPO_TRACEBACK=1 in the environment shows the traceback of any error.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # its import warns that torchvision is missing
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "1")  # a run does not wait for a server that is gone
    settle_environment()
    for number in STOPPING:
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        _run()
    except SystemExit as ended:
        end_without_server(ended.code)
        raise


def _run() -> None:
    try:
        app()
    except GuardStopError as stop:
        say(stop, file=sys.stderr)
        sys.exit(GUARDED)
    except (ValueError, FloatingPointError, StoreWriteError, RunnersLostError) as error:
        if os.environ.get("G2RPO_TRACEBACK"):
            raise
        say(f"error: {on_terminal(str(error))}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        if os.environ.get("G2RPO_TRACEBACK"):
            raise
        say(f"error: {log_unforeseen(error)}", file=sys.stderr)
        sys.exit(1)
