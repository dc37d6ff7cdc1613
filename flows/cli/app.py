"""The command line. Heavy packages are imported inside the commands, so that help answers at once."""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.compare import comparing
from flows.cli.doctor import doctoring
from flows.cli.models import models
from flows.cli.options import Overrides, ParamsFile, Round, RunKey, RunsParams, checked, chosen_for
from flows.cli.plan import planning
from flows.cli.runs import runs
from flows.cli.services import services
from flows.cli.signal import signals
from flows.cli.stopping import stoppable
from flows.common.endings import GUARDED, GuardStopError, RunnersLostError, end_without_server
from stages.disk.files import StoreWriteError

app = typer.Typer(
    name="g2rpo",
    help="Align flow-matching text-to-image models with human preferences by G²RPO (arXiv:2510.01982).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
setup = typer.Typer(help="What some rewards need beside this package.", no_args_is_help=True)
shapes = typer.Typer(help="The embedded world of coloured shapes.", no_args_is_help=True)
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
    params: Annotated[Path | None, typer.Option("--params", help="The parameter file. [default: params.yaml]")] = None,
    overrides: Overrides = None,
    run: Annotated[
        str | None,
        typer.Option("--run", help="Go on with this run, by its own parameters if --params is not given; or refuse."),
    ] = None,
    export: Annotated[Path | None, typer.Option(help="Folder to link the run into when it is done.")] = None,
    final: Annotated[bool, typer.Option(help="Judge base, best and last policy on report.split at the end.")] = True,
) -> None:
    """Align a policy: bring the run of these parameters to run.rounds, going on where it stopped.

    Under a configured Prefect API each stage call is a task; without one the same loop runs as plain calls.
    """
    file, changes = params or Path("params.yaml"), overrides or []
    named = None
    if run is not None:
        from flows.upkeep.store_commands import find_whole

        named = find_whole(run)
        if params is None:
            file, changes = named.path / "params.yaml", [f"prompts.path={named.prompts}", *changes]
    parsed = checked(file, changes)
    from flows.prefect_flows.start import start

    with stoppable():
        started = start(parsed, named=named, final=final, out=export)
    key = started.run_key
    print(f"run {key} is done: {started.folder}")
    print(f"next: g2rpo report --run {key[:8]}, or g2rpo export --run {key[:8]} --to FOLDER")


@app.command()
def evaluate(
    run: RunKey,
    params: RunsParams = None,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Folder of tables and metrics.json.")] = Path("outputs/evaluation"),
) -> None:
    """Judge base, best and last policy of a run as the sections evaluate and report say."""
    parsed = chosen_for(run, params, overrides)
    from flows.training.evaluation import evaluate_run

    print(evaluate_run(run, parsed, out))


@app.command()
def report(
    run: RunKey,
    params: RunsParams = None,
    overrides: Overrides = None,
    evaluation: Annotated[
        Path | None, typer.Option(help="Folder that `g2rpo evaluate` wrote; else what `g2rpo train` left in the run.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("outputs/report"),
) -> None:
    """Write the report of a run: a page, pictures, curves, and its numbers as JSON and CSV."""
    parsed = chosen_for(run, params, overrides)
    from flows.training.evaluation import report_run

    print(report_run(run, parsed, evaluation, out))


@app.command()
def stage(
    name: Annotated[str, typer.Argument(help="prompts, rollout, complete, score, integrate, update or evaluate.")],
    run: RunKey,
    number: Round,
    shards: Annotated[str | None, typer.Option(help="Shards to make, as 0,2; all if not given.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Make again what is there; the tables come out equal.")
    ] = False,
) -> None:
    """Run one stage of one round alone."""
    from flows.training.one_stage import run_alone

    if shards is not None and not all(shard.strip().isdigit() for shard in shards.split(",")):
        raise ValueError(f"Shards are numbers with commas between them, got {shards!r}. As --shards 0,2.")
    chosen = None if shards is None else [int(shard) for shard in shards.split(",")]
    print(run_alone(name, run, number, shards=chosen, force=force))


@app.command("one-round")
def one_round(
    name: Annotated[str, typer.Argument(help="prompts, rollout, complete, score, integrate or update.")],
    number: Round,
    *,
    folder: Annotated[Path, typer.Option(help="Where the round lies: a folder a stage.")] = Path(),
    policy: Annotated[Path | None, typer.Option(help="The stored policy that it begins with; else the base.")] = None,
    params: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Run one stage of a round that lies in a folder of its own, outside the store."""
    parsed = checked(params, overrides)
    from flows.training.one_round import run_in_folder

    print(run_in_folder(name, folder, number, policy, parsed))


@app.command()
def trace(
    run: RunKey,
    number: Round,
    prompt_id: Annotated[str, typer.Option("--prompt-id", help="As in the prompts table, e.g. train-0042-000.")],
) -> None:
    """Print one prompt's way through a round: anchor, branches, rewards, summands, advantages, update."""
    from stages.readings.trace import trace_prompt
    from stages.store.run import find_run

    print(trace_prompt(find_run(run), number, prompt_id))


@app.command()
def demo(
    params: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("outputs/demo"),
) -> None:
    """Run the main job under a local Prefect server and leave a report with pictures."""
    parsed = checked(params, overrides)
    from flows.prefect_flows.demo import run_demo

    with stoppable():
        run_demo(parsed, out)


@app.command()
def verify(run: RunKey) -> None:
    """Check every file of a run against its manifests, and the manifests against each other."""
    from flows.upkeep.store_commands import verified

    print(verified(run))


@app.command()
def repair(run: RunKey) -> None:
    """Make again all that is damaged of a run, also of rounds that no further training needs."""
    from flows.training.repair_run import repaired

    print(repaired(run))


@app.command()
def prune(
    run: RunKey,
    rounds: Annotated[int | None, typer.Option(min=1, help="In place of the run's retention.rounds.")] = None,
) -> None:
    """Let go of the latents and policies of earlier rounds; scores, advantages and metrics stay."""
    from flows.upkeep.store_commands import pruned

    print(pruned(run, rounds))


@app.command()
def sync(
    run: Annotated[str | None, typer.Option("--run", help="The run's key; all runs if not given.")] = None,
) -> None:
    """Log to MLflow what it lacks of a run, or of all runs of the store."""
    from flows.tracking.backfill import synced

    for line in synced(run):
        print(line)


@app.command()
def adopt(folder: Annotated[Path, typer.Argument(help="A run outside the store.")] = Path("outputs/run")) -> None:
    """Take a run that lies in a folder into the store, as `dvc pull` brings it, so that it can go on."""
    from flows.upkeep.store_commands import adopted

    print(adopted(folder))


@setup.callback()
def _setup() -> None:
    """What some rewards need beside this package."""


@setup.command("hps")
def setup_hps_folder(
    folder: Annotated[Path, typer.Option(help="Folder to make, for `rewards.NAME.folder` with `backend: hpsv2`.")],
) -> None:
    """Fetch the package hpsv2 into a folder of its own, from which it scores in a process of its own."""
    from flows.upkeep.setup_hps import setup_hps

    print(setup_hps(folder))


@shapes.command()
def build(
    out: Annotated[Path, typer.Option(help="Folder to write the weights to.")] = Path("outputs/shapes"),
    log: Annotated[Path | None, typer.Option(help="File to write the build log to.")] = None,
) -> None:
    """Train the base policy and the judges of the embedded world again, as the shipped ones were."""
    from g2rpo.shapes_build.build import build

    build(out, log=log)


def main() -> None:
    """Run the command line; a refused input prints what is required, what was got and what to do.

    SIGTERM and SIGHUP end it as an exit does, so that servers and processes it started end with it. A run that a
    guard has ended exits with 3. G2RPO_TRACEBACK=1 in the environment shows where an error came from.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # at import it tells of torchvision, which is not needed
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "1")  # a run does not wait for a server that is gone
    for number in (signal.SIGTERM, signal.SIGHUP):
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
        print(stop, file=sys.stderr)
        sys.exit(GUARDED)
    except (ValueError, FloatingPointError, StoreWriteError, RunnersLostError) as error:
        if os.environ.get("G2RPO_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
