"""The store: damaged, interrupted or half-written runs, and services that have ended."""

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
    """Check each run's own files and its lock; `g2rpo verify` also checks its tables."""
    folders = sorted(path for path in (store_root() / "runs").glob("*") if path.is_dir())
    for path in folders:
        run = Run(path)
        damaged = damaged_own_files(run)
        if damaged:
            remedy = "Run the command that made the run again: it writes the run's own files anew."
            yield Check(f"run {path.name[:8]}", "fault", f"{damaged[0]}", remedy)
            continue
        if num_marked(run):
            told = f"damaged files of earlier rounds or evaluations: {num_marked(run)}"
            yield Check(f"run {path.name[:8]}", "warn", told, f"`g2rpo repair --run {path.name[:8]}` makes them again.")
        yield from _lock(run)
        yield from _leftovers(path)
    yield Check("runs", "ok", f"{len(folders)} in {store_root()}")


def services() -> Iterator[Check]:
    """Report services of `g2rpo up` that have ended."""
    for path in sorted((store_root() / "services").glob("*.json")):
        service = stored(path.stem)
        if service is None:
            yield Check(f"service {path.stem}", "warn", f"{path} cannot be read", "Remove it, then run `g2rpo up`.")
        elif not service.running:
            message = f"process {service.pid} of `g2rpo up` has ended; the end of its log is in {service.log}"
            yield Check(f"service {path.stem}", "fault", message, "Run `g2rpo up`: it starts missing services.")
        else:
            yield Check(f"service {path.stem}", "ok", f"process {service.pid} {service.url}".rstrip())


def _lock(run: Run) -> Iterator[Check]:
    """Report a stale lock: its holder was killed. It blocks nobody, since a lock ends with its holder."""
    last, done, rounds = last_holder(run.path), run.num_finished, run.params().run.rounds
    if last is None or last.host != socket.gethostname():
        return
    if done < rounds and held_by(run.path) is None and not Path(f"/proc/{last.pid}").exists():
        message = f"process {last.pid}, which held it, is gone after {done} of {rounds} rounds"
        remedy = f"Run the same command again, or `g2rpo train --run {run.key[:8]}`: it resumes there."
        yield Check(f"run {run.key[:8]}", "warn", message, remedy)


def _leftovers(path: Path) -> Iterator[Check]:
    """Report files that a killed process has left half written; the next `g2rpo train` of the run removes them."""
    left = [file for file in path.rglob(".*.tmp") if not _writes(file)]
    if left:
        message = f"{len(left)} files are half written, such as {left[0].relative_to(path)}"
        yield Check(f"run {path.name[:8]}", "warn", message, "None: the next `g2rpo train` of the run removes them.")


def _writes(path: Path) -> bool:
    """Whether the process that writes a file is alive: its id is in the file's name."""
    pid = path.name.rsplit(".", 2)[-2]
    return pid.isdigit() and Path(f"/proc/{pid}").exists() and int(pid) != os.getpid()
