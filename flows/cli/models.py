"""Commands for what a run is made of and what comes out: prompts, models, rewards, exports."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli.options import Overrides, ParamsFile, RunKey, checked

models = typer.Typer()


@models.command("params")
def print_params(params: ParamsFile = Path("params.yaml"), overrides: Overrides = None) -> None:
    """Print the parameters of a preset in full: a params.yaml of its own, as DVC needs one."""
    from stages.params.file import written

    print(written(checked(params, overrides)), end="")


@models.command()
def prompts(
    params: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Folder of the lists.")] = Path("outputs/prompts"),
) -> None:
    """Write the lists of prompts that a run, its evaluations and its report draw from, as Parquet."""
    parsed = checked(params, overrides)
    from stages.texts.lists import write_prompt_lists

    for split, length in write_prompt_lists(parsed, out).items():
        print(f"{out / split}: {length} texts")


@models.command("import-prompts")
def import_prompts_command(
    source: Annotated[Path, typer.Argument(help="A folder of lists, or one .txt, .jsonl, .json, .csv or .parquet.")],
    out: Annotated[Path, typer.Option(help="Folder of the lists, new or empty, for prompts.path.")],
    field: Annotated[
        str | None, typer.Option(help="The field of the text; prompt, text or caption if not given.")
    ] = None,
    tuning: Annotated[int, typer.Option(min=0, help="Training texts to set apart as tuning.")] = 0,
    test: Annotated[int, typer.Option(min=0, help="Training texts to set apart as test.")] = 0,
    *,
    metadata: Annotated[bool, typer.Option(help="Keep what lies beside the texts.")] = True,
) -> None:
    """Make lists of prompts from what others publish: repetitions dropped, held-out texts taken out of training."""
    from flows.upkeep.import_prompts import import_prompts

    made = import_prompts(source, out, field=field, tuning=tuning, test=test, metadata=metadata)
    for told in made:
        print(told)
    lacking = [split for split in ("tuning", "test") if split not in {told.split for told in made}]
    if lacking:
        print(f"no list {' and no list '.join(lacking)}: a run is judged on them; --tuning N --test N set texts apart")


@models.command("random-model")
def random_model(
    family: Annotated[str, typer.Argument(help="flux1, flux1-schnell, sd3, sd3.5 or clip-hps.")],
    out: Annotated[Path, typer.Option(help="A new or empty folder.")],
    size: Annotated[str, typer.Option(help="tiny is the one size that is written.")] = "tiny",
    seed: Annotated[int, typer.Option(help="Decides every weight.")] = 0,
) -> None:
    """Write a small model with random weights in the real file format, to try everything without a model hub."""
    from g2rpo.random_models import write_random_model

    print(f"{out}: {family}, {write_random_model(family, out, size=size, seed=seed) / 1e6:.1f} MB")


@models.command()
def export(
    run: RunKey,
    to: Annotated[Path, typer.Option(help="A new or empty folder.")],
    form: Annotated[
        Literal["lora", "pipeline"] | None,
        typer.Option("--format", help="A LoRA where one was trained, else a pipeline, if not given."),
    ] = None,
    number: Annotated[
        str,
        typer.Option(
            "--round", help="The policy after so many rounds, a number; or best, by the held-out prompts; or last."
        ),
    ] = "best",
    *,
    name: Annotated[
        str | None, typer.Option("--register", help="Register it in MLflow too, as the next version of this model.")
    ] = None,
    alias: Annotated[str, typer.Option(help="With --register: what that version is called.")] = "candidate",
) -> None:
    """Write a policy of a run as plain diffusers loads it, with a model card; a pipeline is a base too."""
    from flows.export.policy import export_run, round_choice
    from flows.export.registry import Registration

    registration = Registration(name, alias) if name else None
    print(export_run(run, to, form, number=round_choice(number), registration=registration))


@models.command("serve-reward")
def serve_reward(
    name: Annotated[str, typer.Argument(help="A reward, by the name that score.rewards would give it.")],
    params: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
    *,
    host: Annotated[str, typer.Option(help="Address to serve on; without a token, one of the loopback.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    token_env: Annotated[
        str | None, typer.Option(help="Environment variable that holds the token that every request must carry.")
    ] = None,
) -> None:
    """Serve a reward to other processes, as docs/remote-reward.md says; its address is printed once it answers."""
    parsed = checked(params, overrides)
    from flows.reward_server.serve import serve, token_from

    serve(parsed, name, host=host, port=port, token=token_from(token_env))
