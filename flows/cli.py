"""The command line. Heavy packages are imported inside the commands, so that help answers at once."""

import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="g2rpo",
    help="Align flow-matching text-to-image models with human preferences by G²RPO (arXiv:2510.01982).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
shapes = typer.Typer(help="The embedded world of coloured shapes.", no_args_is_help=True)
app.add_typer(shapes, name="shapes")

ParamsFile = Annotated[Path, typer.Option("--params", help="The parameter file.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override a value: section.key=value. May be repeated.")
]
RunKey = Annotated[str, typer.Option("--run", help="The run's key, or a beginning of it.")]
Round = Annotated[
    int, typer.Option("--round", min=0, help="The round, counted from 0; evaluate judges the policy after so many.")
]


@app.command()
def train(params: ParamsFile = Path("params.yaml"), overrides: Overrides = None) -> None:
    """Align a policy: bring the run of these parameters to run.rounds, going on where it stopped.

    Under a configured Prefect API each stage call is a task; without one the same loop runs as plain calls.
    """
    from stages.params_file import load_params

    checked = load_params(params, overrides or [])  # before the heavy imports: a typing error is told at once
    from flows.train import start

    with _stoppable():
        started = start(checked)
    print(f"run {started.run_key} is done: {started.folder}")


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
    from flows.stage_alone import run_alone

    if shards is not None and not all(shard.strip().isdigit() for shard in shards.split(",")):
        raise ValueError(f"Shards are numbers with commas between them, got {shards!r}. As --shards 0,2.")
    chosen = None if shards is None else [int(shard) for shard in shards.split(",")]
    print(run_alone(name, run, number, shards=chosen, force=force))


@app.command()
def trace(
    run: RunKey,
    number: Round,
    prompt_id: Annotated[str, typer.Option("--prompt-id", help="As in the prompts table, e.g. train-0042-000.")],
) -> None:
    """Print one prompt's way through a round: anchor, branches, rewards, summands, advantages, update."""
    from stages.store import find_run
    from stages.trace import trace_prompt

    print(trace_prompt(find_run(run), number, prompt_id))


@app.command()
def demo(
    params: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("outputs/demo"),
) -> None:
    """Run the main job under a local Prefect server and leave a report with pictures."""
    from stages.params_file import load_params

    checked = load_params(params, overrides or [])
    from flows.demo import run_demo

    with _stoppable():
        run_demo(checked, out)


@shapes.command()
def build(
    out: Annotated[Path, typer.Option(help="Folder to write the weights to.")] = Path("outputs/shapes"),
    log: Annotated[Path | None, typer.Option(help="File to write the build log to.")] = None,
) -> None:
    """Train the base policy and the judges of the embedded world again, as the shipped ones were."""
    from g2rpo.shapes.build import build

    build(out, log=log)


@contextmanager
def _stoppable() -> Generator[None]:
    """Let Ctrl-C end a command with a word on how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        print("stopped; give the same command again to go on", file=sys.stderr)
        raise typer.Exit(130) from None


def main() -> None:
    """Run the command line; a refused input prints what is required, what was got and what to do.

    SIGTERM and SIGHUP end it as an exit does, so that servers and processes it started end with it.
    G2RPO_TRACEBACK=1 in the environment shows where an error came from.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        app()
    except (ValueError, FloatingPointError) as error:
        if os.environ.get("G2RPO_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
