"""Export of a trained policy: a LoRA or the folder of a pipeline, which plain diffusers loads, with its model card."""

from pathlib import Path
from typing import Literal

from flows.export.model_card import Exported, write_card
from flows.export.registry import Registration, register
from flows.tracking.recordable import require_tracking
from flows.upkeep.store_commands import find_whole
from g2rpo.policies.publishing import PUBLISHERS
from stages.disk.files import atomic_folder
from stages.disk.policy_state import missing_files
from stages.engine.loaded_models import LoadedModels
from stages.params.record import Params
from stages.readings.best_round import best_trained_round
from stages.store.adopted import require_named
from stages.store.base_weights import require_base
from stages.store.run import Run

Format = Literal["lora", "pipeline"]
RoundChoice = int | Literal["best", "last"]


def export_run(
    name: str,
    out: Path,
    chosen: Format | None = None,
    *,
    number: RoundChoice = "best",
    registration: Registration | None = None,
) -> str:
    """Write a policy of a run, as it is evaluated, whole or not at all; return a message.

    - `lora`: `pytorch_lora_weights.safetensors`, for `load_lora_weights` of the base's pipeline;
    - `pipeline`: a folder for `from_pretrained`, with the adapter merged, and with the schedule of the training.

    Args:
        name: The run's key, or a folder that holds it.
        out: A new or empty folder.
        number: Rounds after which the policy is taken; `best` is the evaluated round with the highest
            `evaluate.choose_by`.
        chosen: The format; None writes a LoRA if the run trained one, else a pipeline.
        registration: Name and alias to register it in MLflow too; None writes only the folder.

    Raises:
        ValueError: If the run or a finished round does not exist, one of the run's own files is damaged, the folder is
            not empty, the format is `lora` but the run trained none, or the base weights have changed.
        StoreWriteError: If the folder cannot be written.
    """
    run = find_whole(name)
    params = run.params()
    if run.num_finished == 0:
        raise ValueError(f"Run {run.key} must have finished a round, got none. Train it first.")
    rounds = _round_number(run, params, number)
    _require_kept(run, rounds)
    _require_empty(out)
    trained = _trains_lora(params)
    if chosen == "lora" and not trained:
        raise ValueError(
            f"--format lora: a run that trains a LoRA is required, got run {run.key}, which trains all weights of its "
            f"{params.policy.family} model. Use --format pipeline."
        )
    require_base(run, params)
    if registration:
        require_named(run.path, params)
        require_tracking(params)
    policy = LoadedModels(_to_load_only(params)).policy(run.policy_folder(rounds), averaged=True)
    as_lora = trained if chosen is None else chosen == "lora"
    with atomic_folder(out) as temporary:
        if as_lora:
            policy.save_adapter(temporary)
        else:
            policy.save(temporary)
            shift = params.rollout.shift
            PUBLISHERS[params.policy.family].complete(
                temporary, shift=None if shift == "model" else shift, num_steps=params.evaluate.num_steps[0]
            )
        exported = Exported(run, params, rounds, as_lora)
        write_card(temporary, exported)
    kind = "LoRA" if as_lora else "pipeline"
    message = f"{out}: the {kind} after {rounds} rounds of run {run.key}; read its README.md"
    return f"{message}\n{register(out, exported, registration)}" if registration else message


def round_choice(text: str) -> RoundChoice:
    """Parse the option --round: a number of rounds, `best` or `last`.

    Raises:
        ValueError: If it is none of them.
    """
    match text:
        case "best" | "last":
            return text
        case _ if text.isdigit():
            return int(text)
        case _:
            raise ValueError(
                f"--round: a number of rounds, best or last is required, got {text!r}. Example: --round 100."
            )


def _round_number(run: Run, params: Params, number: RoundChoice) -> int:
    if number == "best":
        return best_trained_round(run, params)
    return min(run.num_finished, params.run.rounds) if number == "last" else number


def _require_kept(run: Run, number: int) -> None:
    """Refuse a policy that the run has not reached, or has pruned.

    Raises:
        ValueError: With the rounds whose policy is kept.
    """
    reached = range(1, run.num_finished + 1)
    kept = [n for n in reached if not missing_files(run.policy_folder(n))]
    if number not in kept:
        raise ValueError(
            f"--round: a round whose policy is kept is required, one of {', '.join(map(str, kept))}, got {number}. "
            "`retention.rounds` and `evaluate.every` decide which are kept."
        )


def _trains_lora(params: Params) -> bool:
    return getattr(params.policy, "lora", None) is not None


def _require_empty(out: Path) -> None:
    """Refuse to write over anything.

    Raises:
        ValueError: If the folder is not empty, or a file.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        present = "a folder that is not empty" if out.is_dir() else "a file"
        raise ValueError(f"--to: a new or empty folder is required, got {present}: {out}. Name another, or remove it.")


def _to_load_only(params: Params) -> Params:
    """Return the parameters for loading only, on a CPU, whatever device trained the policy."""
    plain = {"device": "cpu", "attention": "native", "compile": False, "gradient_checkpointing": False}
    return params.with_values({f"resources.{key}": value for key, value in plain.items()})
