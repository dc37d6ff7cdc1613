"""Checks of a run's own files, which are not part of a round: run.json, parameters, prompts, base, HEAD."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from g2rpo.messages import shown
from stages.disk.files import read_json
from stages.disk.policy_state import STATE
from stages.disk.root import store_root
from stages.disk.tables import shard_path, shard_stamp
from stages.integrity.damage import Damage
from stages.params.file import load_stored_params
from stages.params.record import Params
from stages.store.fingerprint import Fingerprint
from stages.store.run import Run, is_run
from stages.store.run_files import begun_rounds, rounds_with_metrics
from stages.texts.lists import list_digest, splits_of, with_prompts


def damaged_own_files(run: Run, params: Params | None = None) -> list[Damage]:
    """Return the damage of a run's own files; the rounds can be checked only once these are whole.

    Args:
        run: The run.
        params: The parameters that this process has just written to params.yaml; None reads and checks the file.
    """
    damages = list(_about(run))
    return damages or [*_base(run), *_params_and_prompts(run, params), *_head(run)]


def require_source(run: Run, params: Params) -> None:
    """Refuse damaged prompt lists if the parameters read the prompts from the run's own folder.

    Raises:
        ValueError: With the damaged list and the remedy; nothing is changed.
    """
    path = params.prompts.path
    if path is None or Path(path).resolve() != run.prompts.resolve():
        return
    for damage in damaged_own_files(run, params):
        if run.prompts in damage.path.parents:
            raise ValueError(
                f"{damage}, and prompts.path names this folder. Run `g2rpo train --params FILE` with a prompts.path "
                "that names the lists of the run's first start, or bring the list back from a copy, e.g. by "
                "`dvc checkout`."
            )


def num_with_metrics(run: Run) -> int:
    """Return the number of rounds with metrics, which a round writes last before it moves HEAD."""
    return max(rounds_with_metrics(run.path), default=-1) + 1


def _about(run: Run) -> Iterator[Damage]:
    path = run.path / "run.json"
    if not is_run(run.path):
        yield Damage(path, "it must be as it was written, got none or a damaged or edited one")
    elif run.key != run.fingerprint.key:
        yield Damage(path, f"its fingerprint must have the digest {run.key}, got {run.fingerprint.key}: it was edited")
    elif run.path.parent == store_root() / "runs" and run.path.name != run.key:
        yield Damage(path, f"the run in folder {run.path.name} must have that key, got {run.key}: of another run")


def _base(run: Run) -> Iterator[Damage]:
    path, digest = run.policy_folder(0) / STATE, run.fingerprint.values["origins.policy"]
    try:
        state = read_json(path)
    except (OSError, ValueError):
        state = None
    if state != {"digest": digest, "num_steps": 0, "files": {}}:
        yield Damage(path, f"the base policy with digest {digest} is required, got another or none")


def _params_and_prompts(run: Run, params: Params | None) -> Iterator[Damage]:
    known = run.fingerprint.values
    if params is None:
        path = run.path / "params.yaml"
        try:
            params = load_stored_params(path)
        except ValueError as error:
            yield Damage(path, f"the parameters of the run are required, got a damaged file or none: {error}")
            return
        if edited := _edited(params, known):
            yield Damage(path, f"the parameters of the run are required, got others in {', '.join(edited)}")
    for split in splits_of(params):
        required = known.get(f"origins.prompts/{split}", shard_stamp(run.prompts / split, 0))
        if required is None or _list_digest(params, run.prompts, split) != required:
            path = shard_path(run.prompts / split, 0)
            yield Damage(path, "the run's list of prompts is required as it was written, got another or none")


def _edited(params: Params, known: Mapping[str, Any]) -> list[str]:
    """Return the names of parameters and of their files that differ from those of the run's fingerprint."""
    own, absent = Fingerprint.settings(params), object()
    origins = {f"origins.{name}" for name in Fingerprint.origin_names(params)}
    settings = {name: value for name, value in known.items() if not name.startswith("origins.")}
    differ = {name for name in settings | own if settings.get(name, absent) != own.get(name, absent)}
    return sorted((differ | (origins ^ (known.keys() - settings.keys()))) - {"resources.device"})


def _list_digest(params: Params, folder: Path, split: str) -> str | None:
    try:
        return list_digest(with_prompts(params, folder), split)
    except ValueError:
        return None


def _head(run: Run) -> Iterator[Damage]:
    """Compare HEAD with the existing rounds; a process may have been killed just before it moved HEAD."""
    path, with_metrics = run.path / "HEAD", num_with_metrics(run)
    begun = max(begun_rounds(run.path), default=-1) + 1
    least, most = max(with_metrics - 1, 0), max(with_metrics, begun)
    try:
        finished = run.num_finished
    except ValueError:
        finished = None
    if finished is None or not least <= finished <= most:
        got = shown(run.head()) if path.is_file() else "no file"
        yield Damage(path, f"a number of finished rounds from {least} to {most} is required, got {got}")
