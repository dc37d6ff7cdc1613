"""The store: damaged, interrupted or half-written runs, and services that have ended."""

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from flows.doctor.check import Check
from flows.services.service import stored
from stages.disk.files import writer_of
from stages.disk.root import store_root
from stages.integrity.damage import num_marked
from stages.integrity.own_files import damaged_own_files
from stages.store.lock import NoLocksError, flock, held_by, last_holder
from stages.store.run import Run, stored_runs
from stages.store.run_files import require_no_links, strange_files

_NAMED = 5
"""Number of ignored entries to name."""


def runs() -> Iterator[Check]:
    """Check each run's own files and its lock; `g2rpo verify` also checks its tables."""
    stored = stored_runs()
    for run in stored:
        try:
            require_no_links(run.path)
            yield from _run(run)
        except (ValueError, OSError) as error:
            yield Check(f"run {run.path.name[:8]}", "fault", str(error), "Remove this cause; the other runs are fine.")
    keys = {run.path.name for run in stored}
    if strange := sorted(path.name for path in (store_root() / "runs").glob("[!.]*") if path.name not in keys):
        message = f"{store_root() / 'runs'} has entries that are no runs and are ignored: {', '.join(strange[:_NAMED])}"
        yield Check("runs", "warn", message, "Move them elsewhere. The folder of a run has its key as name.")
    yield Check("runs", "ok", f"{len(stored)} in {store_root()}")


def locks() -> Iterator[Check]:
    """Try a lock in the store: a run is held by one."""
    folder = store_root()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", prefix="doctor-", dir=folder, encoding="utf-8") as handle:
            flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except NoLocksError as error:
        message, _, remedy = str(error).partition(". ")
        yield Check("locks", "fault", message, remedy)
    except OSError as error:
        yield Check("locks", "fault", f"{folder} cannot be written to: {error}", "Set G2RPO_HOME to your own folder.")
    else:
        yield Check("locks", "ok", f"{folder} has locks")


def _run(run: Run) -> Iterator[Check]:
    name = f"run {run.path.name[:8]}"
    if damaged := damaged_own_files(run):
        remedy = "Run the command that made the run again: it writes the run's own files anew."
        yield Check(name, "fault", f"{damaged[0]}", remedy)
        return
    if num_marked(run):
        told = f"damaged files of earlier rounds or evaluations: {num_marked(run)}"
        yield Check(name, "warn", told, f"`g2rpo repair --run {run.path.name[:8]}` makes them again.")
    yield from _lock(run)
    yield from _leftovers(run.path)
    if strange := strange_files(run.path):
        message = f"files that are not the run's are ignored: {', '.join(strange[:_NAMED])}"
        yield Check(name, "warn", message, "Move them elsewhere.")


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
    pid = writer_of(path)
    return pid is not None and Path(f"/proc/{pid}").exists() and pid != os.getpid()
