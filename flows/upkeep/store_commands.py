"""Commands that keep the store in order: verify, prune, adopt."""

from collections.abc import Callable, Sequence
from pathlib import Path

from g2rpo.messages import listed
from stages.disk.root import store_root
from stages.integrity.damage import mark
from stages.integrity.own_files import damaged_own_files
from stages.integrity.verify import verify
from stages.params.file import load_stored_params, override
from stages.params.record import Params
from stages.store.adopted import require_named, uses
from stages.store.lock import locked
from stages.store.retention import prune
from stages.store.run import Run, find_run, is_run
from stages.store.run_files import require_no_links, strange_files
from stages.store.transfer import adopt

_NAMED = 10
"""Number of ignored files to name."""


def find_whole(name: str) -> Run:
    """Return a run that a command continues with its own parameters.

    Raises:
        ValueError: If there is no such run, or one of its own files, such as params.yaml, is damaged.
    """
    run = find_run(name)
    require_whole(run)
    return run


def require_whole(run: Run) -> None:
    """Refuse a run of whose own files one, such as params.yaml or a list of prompts, is damaged or missing.

    Raises:
        ValueError: With the file and what to do.
    """
    damaged = damaged_own_files(run)
    if damaged:
        raise ValueError(
            f"{damaged[0]}. Run `g2rpo train --params FILE` with the run's parameters: it repairs the run."
        )


def own_params(run: Run, overrides: Sequence[str]) -> Params:
    """Return the parameters of a run's last start with `section.key=value` overrides, and its own prompts.

    Raises:
        ValueError: If an override is not valid, or a stranger's parameters name code, servers or variables.
    """
    prompts = override("prompts.path", str(run.prompts))
    params = load_stored_params(run.path / "params.yaml", [prompts, *overrides])
    require_named(run.path, params)
    return params


def verified(name: str) -> str:
    """Check a run, remove the mark of a damaged one, and return a line that says that it is whole.

    Raises:
        ValueError: If the run is damaged; with every damaged file, and what to do.
    """
    run = find_run(name)
    damages = verify(run)
    if damages:
        lines = "\n".join(f"  {damage}" for damage in damages)
        raise ValueError(
            f"Run {name} must be as it was written, got {len(damages)} damaged files or manifests:\n"
            f"{lines}\n{_remedy(run)}"
        )
    mark(run, [])
    whole = f"run {run.key} is whole: {run.num_finished} rounds, {len(run.evaluations())} evaluations"
    return "\n".join([whole, *_ignored(run.path)])


def _ignored(folder: Path) -> list[str]:
    """Return a line with the files in a run's folder that are not the run's, if there are any."""
    strange = strange_files(folder)
    return [f"ignored, no files of a run: {listed(map(repr, strange), _NAMED)}"] if strange else []


def _remedy(run: Run) -> str:
    if run.path.parent != store_root() / "runs":
        return remedy_of_copy()
    if damaged_own_files(run):
        return "Run the command that started the run again: it writes the run's own files anew."
    return (
        f"`g2rpo repair --run {run.key[:8]}` makes them again from their inputs; the command that started the run "
        "continues it and makes only what its next round needs."
    )


def remedy_of_copy() -> str:
    """Return what to do about damage to a copy of a run outside the store."""
    return (
        "`g2rpo repair --run KEY` repairs the run in the store, `g2rpo train --run KEY --export FOLDER` links it here "
        "again; `dvc pull --force` fetches the copy of a remote."
    )


def pruned(name: str, rounds: int | None) -> str:
    """Apply retention to a run; return a line with the freed bytes.

    Raises:
        ValueError: If there is no such run, or another process holds it.
    """
    run = find_whole(name)
    params = run.params()
    if rounds is not None:
        params = params.with_values({"retention.rounds": rounds})
    with locked(run.path):
        freed = prune(run, params)
    last = params.retention.rounds
    kept = "all rounds keep everything" if last is None else f"the last {last} rounds keep everything"
    return f"run {run.key}: {freed / 1e6:.1f} MB freed; {kept}"


def adopted(folder: Path, say: Callable[[str], None]) -> str:
    """Say what a run outside the store uses, take it into the store, and return a line with its number of rounds.

    Raises:
        ValueError: If the folder holds no run, links, or a run whose own files are damaged or of another; the store is
            as it was then.
    """
    if not is_run(folder):
        raise ValueError(f"A folder with a run is required, got {folder}. `dvc pull` or `dvc checkout` may bring one.")
    copy = Run(folder)
    require_no_links(folder)
    if damaged := damaged_own_files(copy):
        raise ValueError(f"{damaged[0]}. {remedy_of_copy()}")
    for line in (*uses(copy.params()), *_ignored(folder)):
        say(line)
    run = adopt(copy)
    return f"run {run.key} is in the store with {run.num_finished} rounds; each start of it checks them: {run.path}"
