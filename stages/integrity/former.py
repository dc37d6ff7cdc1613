"""Former files of a stage that runs again: they stay until the new ones are complete, and return if these differ.

A killed process leaves them behind. The next start or repair of the run puts them back before anything else, so that
it finds the same damage again, and the manifest with which it compares the new files.
"""

import re
import shutil
from contextlib import suppress
from pathlib import Path

from stages.contract.declared_stages import STAGES, Stage
from stages.disk.files import atomic_folder, link_or_copy, writing
from stages.store.manifest import manifest_path
from stages.store.run import Run

_KEPT = re.compile("(?P<number>[0-9]{4,6})-(?P<stage>[a-z]+)")
_FORMER = ".former"
"""Below the run; the lock removes `.tmp`."""


def keep_former(run: Run, stage: Stage, number: int) -> Path:
    """Link a stage's manifest and outputs, damaged or not, into a folder; return it. Files already kept stay.

    Raises:
        StoreWriteError: If the store cannot be written to.
    """
    folder, kept = run.round_folder(number), _kept(run, stage, number)
    if not kept.is_dir():
        files = [path for name in stage.outputs for path in (folder / name).glob("*")]
        with atomic_folder(kept) as temporary:
            for path in [*files, manifest_path(folder, stage)]:
                if path.is_file():
                    link_or_copy(path, temporary / path.relative_to(folder))
    return kept


def drop_former(run: Run, stage: Stage, number: int) -> None:
    """Remove the kept files of a stage whose new files are complete."""
    _drop(_kept(run, stage, number))


def restore_former(run: Run) -> None:
    """Put all kept files back in the place of what a stage has made since; after a kill, a second call ends the same.

    Raises:
        StoreWriteError: If the store cannot be written to.
    """
    with writing(run.path):
        for kept in sorted((run.path / _FORMER).glob("[0-9]*-*")):
            name = _KEPT.fullmatch(kept.name)
            if name is None or name["stage"] not in STAGES:
                continue  # it is not ours
            folder, stage = run.round_folder(int(name["number"])), STAGES[name["stage"]]
            for output in stage.outputs:
                shutil.rmtree(folder / output, ignore_errors=True)
            manifest_path(folder, stage).unlink(missing_ok=True)
            files = [path for output in stage.outputs for path in (kept / output).glob("*")]
            for path in [*files, manifest_path(kept, stage)]:
                if path.is_file():
                    link_or_copy(path, folder / path.relative_to(kept))
            _drop(kept)
        shutil.rmtree(run.path / _FORMER, ignore_errors=True)


def _kept(run: Run, stage: Stage, number: int) -> Path:
    return run.path / _FORMER / f"{number:04d}-{stage.name}"


def _drop(kept: Path) -> None:
    """Remove a folder of kept files, all or none of them in the eyes of `restore_former`."""
    dropped = kept.with_name(f".{kept.name}.tmp")
    with writing(kept):
        shutil.rmtree(dropped, ignore_errors=True)
        kept.rename(dropped)
        shutil.rmtree(dropped)
        with suppress(OSError):  # others are kept
            kept.parent.rmdir()
