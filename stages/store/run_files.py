"""The files that a run may have, by name; whatever else lies in its folder is not ours.

Names are checked before anybody copies a file, counts rounds by it or takes a folder for an evaluation. A run has no
links and no pipes: behind them lie files of others.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from stages.contract.declared_stages import EVALUATE, ROUND_STAGES
from stages.disk.policy_state import POLICY_FILES, STATE

_SHARD = r"part-[0-9]{5}\.parquet"


def _number(name: str) -> str:
    return rf"(?P<{name}>[0-9]{{4,6}})"


def _one_of(names: Iterable[str]) -> str:
    return f"({'|'.join(map(re.escape, names))})"


_POLICY = _one_of(POLICY_FILES)
_TABLES = _one_of(name for stage in ROUND_STAGES for name in stage.outputs if name != "policy")
_MANIFESTS = _one_of([*(f"{stage.name}.json" for stage in ROUND_STAGES), "pruned.json"])
_ROUND, _METRICS = re.compile(_number("round")), re.compile(_number("measured") + r"\.json")
_EVALUATION = re.compile(_number("policy") + "-(?P<split>[a-z]+)")
_FILE = re.compile(
    rf"run\.json|params\.yaml|HEAD|base/{re.escape(STATE)}|prompts/[a-z]+/{_SHARD}|metrics/{_METRICS.pattern}"
    rf"|rounds/{_ROUND.pattern}/({_MANIFESTS}|{_TABLES}/{_SHARD}|policy/{_POLICY})"
    rf"|evaluations/{_EVALUATION.pattern}/({EVALUATE.name}\.json|{_one_of(EVALUATE.outputs)}/{_SHARD})"
)
_OF_THE_STORE = re.compile(r"lock|stop|damaged\.json|\.former/.*|(.*/)?\.[^/]*\.(tmp|damaged)(/.*)?", re.DOTALL)


def files_of(folder: Path) -> Iterator[Path]:
    """Yield the files of a run, in order, without lock, mark of damage, half-written and former files, and others'."""
    yield from (folder / name for name in sorted(_names(folder)) if _FILE.fullmatch(name))


def strange_files(folder: Path) -> list[str]:
    """Return the names of files in a run's folder that no stage and no command of ours has written."""
    return [name for name in sorted(_names(folder)) if not (_FILE.fullmatch(name) or _OF_THE_STORE.fullmatch(name))]


def round_of(path: Path) -> int:
    """Return the number of rounds after which a file of a run exists: 8 for a file of round 7, 0 for the run's own."""
    name = _FILE.fullmatch(path.as_posix())
    assert name, f"{path} is no file of a run."
    return int(name["policy"]) if name["policy"] else int(name["round"] or name["measured"] or -1) + 1


def begun_rounds(folder: Path) -> list[int]:
    """Return the numbers of the rounds of a run that have a folder, ascending."""
    return _numbers(folder / "rounds", _ROUND)


def rounds_with_metrics(folder: Path) -> list[int]:
    """Return the numbers of the rounds of a run that have metrics, ascending."""
    return _numbers(folder / "metrics", _METRICS)


def evaluations_of(folder: Path) -> list[tuple[int, str]]:
    """Return (policy_round, split) of the evaluations of a run, in order."""
    found = (_EVALUATION.fullmatch(path.parent.name) for path in folder.glob(f"evaluations/*/{EVALUATE.name}.json"))
    return sorted((int(name["policy"]), name["split"]) for name in found if name)


def require_no_links(folder: Path) -> None:
    """Refuse a run with a link, a pipe or a device in its folder: who opened it would leave the folder.

    Raises:
        ValueError: With its name and what to do.
    """
    inner = (entry.path for entry in _entries(folder) if not _is_plain(entry))
    odd = folder if folder.is_symlink() else next(inner, None)
    if odd:
        raise ValueError(
            f"A run has files and folders of its own alone, got a link or a special file, {odd}. Nothing was read or "
            "written. Remove that name, not what is behind it; `g2rpo repair` then makes a file of a round again. "
            "If DVC made the links: `dvc config cache.type hardlink,copy`, then `dvc checkout --relink`."
        )


def _entries(folder: Path) -> Iterator["os.DirEntry[str]"]:
    """Yield what lies below a folder, however deep, and nothing of what links lead to."""
    folders = [str(folder)]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:  # what cannot be read: its reader says so
            for entry in entries:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)


def _names(folder: Path) -> Iterator[str]:
    """Yield the names of the files of a folder, relative to it."""
    for entry in _entries(folder):
        if entry.is_file(follow_symlinks=False):
            yield os.path.relpath(entry.path, folder)


def _is_plain(entry: "os.DirEntry[str]") -> bool:
    return entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)


def _numbers(folder: Path, pattern: re.Pattern[str]) -> list[int]:
    names = (pattern.fullmatch(path.name) for path in folder.glob("[0-9]*"))
    return sorted(int(name[1]) for name in names if name)
