"""Commands for the inputs and outputs of a run: prompts, models, rewards, exports."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli.options import Overrides, ParamsFile, RunKey, checked
from flows.common.escape import say

models = typer.Typer()


@models.command("params")
def print_params(params: ParamsFile = Path("params.yaml"), overrides: Overrides = None) -> None:
    """Print all parameters of a preset, as a complete params.yaml, which DVC needs."""
    from stages.params.file import written

    say(written(checked(params, overrides)), end="")


@models.command()
def prompts(
    params: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Folder for the lists.")] = Path("outputs/prompts"),
) -> None:
    """Write the prompt lists that a run, its evaluations and its report draw from, as Parquet."""
    parsed = checked(params, overrides)
    from stages.texts.lists import write_prompt_lists

    for split, length in write_prompt_lists(parsed, out).items():
        say(f"{out / split}: {length} texts")


@models.command("import-prompts")
def import_prompts_command(
    source: Annotated[Path, typer.Argument(help="A folder of lists, or one .txt, .jsonl, .json, .csv or .parquet.")],
    out: Annotated[Path, typer.Option(help="New or empty folder for the lists, for prompts.path.")],
    field: Annotated[str | None, typer.Option(help="Field of the text. Default: prompt, text or caption.")] = None,
    tuning: Annotated[int, typer.Option(min=0, help="Number of training texts to move to the list tuning.")] = 0,
    test: Annotated[int, typer.Option(min=0, help="Number of training texts to move to the list test.")] = 0,
    *,
    metadata: Annotated[bool, typer.Option(help="Keep the other fields beside the text.")] = True,
) -> None:
    """Convert published prompts to our lists; drop repeated texts, and training texts that are held out."""
    from flows.upkeep.import_prompts import import_prompts

    imported = import_prompts(source, out, field=field, tuning=tuning, test=test, metadata=metadata)
    for each in imported:
        say(each)
    missing = [split for split in ("tuning", "test") if split not in {each.split for each in imported}]
    if missing:
        say(f"no list {' and no list '.join(missing)}: a run is evaluated on them; --tuning N --test N create them")


@models.command("random-model")
def random_model(
    family: Annotated[str, typer.Argument(help="flux1, flux1-schnell, sd3, sd3.5 or clip-hps.")],
    out: Annotated[Path, typer.Option(help="A new or empty folder.")],
    size: Annotated[str, typer.Option(help="tiny is the only size.")] = "tiny",
    seed: Annotated[int, typer.Option(help="Seed of the weights.")] = 0,
) -> None:
    """Write a small model with random weights in the real file format, to try everything without a model hub."""
    from g2rpo.random_models import write_random_model

    say(f"{out}: {family}, {write_random_model(family, out, size=size, seed=seed) / 1e6:.1f} MB")


@models.command()
def export(
    run: RunKey,
    to: Annotated[Path, typer.Option(help="A new or empty folder.")],
    form: Annotated[
        Literal["lora", "pipeline"] | None,
        typer.Option("--format", help="Format of the policy. Default: lora if the run trained one, else pipeline."),
    ] = None,
    number: Annotated[
        str,
        typer.Option(
            "--round", help="The policy after this number of rounds; or best, by the held-out prompts; or last."
        ),
    ] = "best",
    *,
    name: Annotated[
        str | None, typer.Option("--register", help="Also register it in MLflow, as the next version of this model.")
    ] = None,
    alias: Annotated[str, typer.Option(help="With --register: the alias of the new version.")] = "candidate",
) -> None:
    """Write a policy of a run in the format of diffusers, with a model card; a pipeline can also be a base."""
    from flows.export.policy import export_run, round_choice
    from flows.export.registry import Registration

    registration = Registration(name, alias) if name else None
    say(export_run(run, to, form, number=round_choice(number), registration=registration))


@models.command("serve-reward")
def serve_reward(
    name: Annotated[str, typer.Argument(help="A reward, by its name in score.rewards.")],
    params: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
    *,
    host: Annotated[str, typer.Option(help="Address to serve on; without a token, loopback only.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free port.")] = 0,
    token_env: Annotated[
        str | None, typer.Option(help="Environment variable with the token that every request must carry.")
    ] = None,
) -> None:
    """Serve a reward to other processes (docs/remote-reward.md), and print its address once it is ready."""
    parsed = checked(params, overrides)
    from flows.reward_server.serve import serve, token_from

    serve(parsed, name, host=host, port=port, token=token_from(token_env))
