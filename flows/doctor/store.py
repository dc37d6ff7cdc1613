"""The store: runs that are damaged, stopped or half written, and services that have ended."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

from flows.doctor.check import Check
from flows.services.service import stored
from stages.disk.root import store_root
from stages.integrity.damage import num_marked
from stages.integrity.own_files import damaged_own_files
from stages.store.lock import held_by, last_holder
from stages.store.run import Run


def runs() -> Iterator[Check]:
    """Look at each run's own files and at who holds it; `g2rpo verify` looks at its tables too."""
    folders = sorted(path for path in (store_root() / "runs").glob("*") if path.is_dir())
    for path in folders:
        run = Run(path)
        damaged = damaged_own_files(run)
        if damaged:
            remedy = "Give the command that made the run again: it writes the run's own files anew."
            yield Check(f"run {path.name[:8]}", "fault", f"{damaged[0]}", remedy)
            continue
        if num_marked(run):
            told = f"damaged files of earlier rounds or evaluations: {num_marked(run)}"
            yield Check(f"run {path.name[:8]}", "warn", told, f"`g2rpo repair --run {path.name[:8]}` makes them again.")
        yield from _lock(run)
        yield from _leftovers(path)
    yield Check("runs", "ok", f"{len(folders)} in {store_root()}")


def services() -> Iterator[Check]:
    """Look for services that `g2rpo up` has started and that have ended."""
    for path in sorted((store_root() / "services").glob("*.json")):
        service = stored(path.stem)
        if service is None:
            yield Check(f"service {path.stem}", "warn", f"{path} cannot be read", "Remove it, then give `g2rpo up`.")
        elif not service.running:
            told = f"process {service.pid} of `g2rpo up` has ended; the end of its log is in {service.log}"
            yield Check(f"service {path.stem}", "fault", told, "Give `g2rpo up`: it starts what lacks.")
        else:
            yield Check(f"service {path.stem}", "ok", f"process {service.pid} {service.url}".rstrip())


def _lock(run: Run) -> Iterator[Check]:
    """A lock dies with its holder, so a stale one holds nobody up; it says that the holder was killed."""
    last, done, rounds = last_holder(run.path), run.num_finished, run.params().run.rounds
    if last is None or last.host != socket.gethostname():
        return
    if done < rounds and held_by(run.path) is None and not Path(f"/proc/{last.pid}").exists():
        told = f"process {last.pid}, which held it, is gone after {done} of {rounds} rounds"
        remedy = f"Give the same command again, or `g2rpo train --run {run.key[:8]}`: it goes on there."
        yield Check(f"run {run.key[:8]}", "warn", told, remedy)


def _leftovers(path: Path) -> Iterator[Check]:
    """What a killed process has left half written; the next command that goes on with the run removes it."""
    left = [found for found in path.rglob(".*.tmp") if not _writes(found)]
    if left:
        told = f"{len(left)} files are half written, as {left[0].relative_to(path)}"
        yield Check(f"run {path.name[:8]}", "warn", told, "Nothing: the next `g2rpo train` of the run removes them.")


def _writes(path: Path) -> bool:
    """Whether the process that began a file is there: its id is in the file's name."""
    pid = path.name.rsplit(".", 2)[-2]
    return pid.isdigit() and Path(f"/proc/{pid}").exists() and int(pid) != os.getpid()
