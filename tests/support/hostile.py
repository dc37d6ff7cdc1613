"""What each hostile input is held to: it is accepted, or refused in a screen of words; quickly, and by itself alone."""

import contextlib
import hashlib
import os
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import psutil
from hypothesis import given, seed, settings
from tiny import ROOT

from flows.common.unforeseen import on_terminal
from stages.disk.files import StoreWriteError

REFUSALS = (ValueError, StoreWriteError)
"""What `main` turns into a message."""

QUICK = 3_000
"""About how many inputs `make test` tries in all."""

_MOST_CHARACTERS = 4_000
_CPU_SECONDS = 5.0
_BLOCKED_SECONDS = 600  # of waiting for something that never comes, such as the other end of a pipe
_MOST_BYTES = 10**9
_MOST_ADDRESSES = 4 * 10**9  # reserved by libraries, in large part never used
_MAXRSS = 1024 if sys.platform == "linux" else 1  # bytes in a unit of ru_maxrss
_US = psutil.Process()


class HangError(BaseException):
    """An input took too long; it passes every `except Exception`."""


class HogError(BaseException):
    """An input took too much memory."""


def outcome(work):
    """Do what an input asks for; return "accepted" or "refused"."""
    words = None
    try:
        with bounded(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            work()
    except REFUSALS as refusal:
        if not _is_ours(refusal):
            raise
        words = on_terminal(str(refusal))  # as `main` prints it
    except (HangError, HogError) as limit:
        raise AssertionError(f"an input must be answered in little time and memory, it took {limit}") from limit
    if words is None:
        return "accepted"
    check_words(words)
    return "refused"


def _is_ours(refusal):
    """Whether a line of this project raised it on purpose; an error of `int` or of a library is no refusal."""
    last = traceback.extract_tb(refusal.__traceback__)[-1]
    return last.filename.startswith(f"{ROOT}/") and ".venv" not in last.filename and last.line.startswith("raise ")


def check_words(words):
    """Words that are printed as they are fit a screen, and are no command to the terminal."""
    assert words.strip(), "a refusal says nothing"
    assert len(words) <= _MOST_CHARACTERS, f"a refusal of {len(words)} characters: {words[:300]!r}"
    control = [letter for letter in words if letter not in "\n\t" and (ord(letter) < 32 or 127 <= ord(letter) < 160)]
    assert not control, f"a refusal with {control[0]!r}: {words[:300]!r}"


@contextlib.contextmanager
def bounded():
    """Bound CPU time and memory of the block, counted for this process alone."""
    began, start, peak = time.process_time(), _US.memory_info().rss, _peak()

    def look(*_):
        if time.process_time() - began > _CPU_SECONDS:
            raise HangError(f"more than {_CPU_SECONDS:g} s of CPU time")
        if _US.memory_info().rss - start > _MOST_BYTES:
            raise HogError(f"more than {_MOST_BYTES} bytes")

    def blocked(*_):
        raise HangError(f"more than {_BLOCKED_SECONDS} s of waiting")

    former = signal.signal(signal.SIGPROF, look), signal.signal(signal.SIGALRM, blocked)
    limits = resource.getrlimit(resource.RLIMIT_AS)  # for a single call of C, in which no signal is handled
    resource.setrlimit(resource.RLIMIT_AS, (_US.memory_info().vms + _MOST_ADDRESSES, limits[1]))
    signal.setitimer(signal.ITIMER_PROF, 0.2, 0.2)
    signal.setitimer(signal.ITIMER_REAL, _BLOCKED_SECONDS)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGPROF, former[0])
        signal.signal(signal.SIGALRM, former[1])
    if _peak() > peak and _peak() - start > _MOST_BYTES:  # it came and went between two looks
        raise HogError(f"{_peak() - start} bytes")


def _peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS


class Area:
    """A folder for a campaign: `here` for its inputs, anew for each; all else in it is a canary that must not change.

    area/outside/{id_rsa,id_rsa.bak,notes.txt,deep/model.safetensors}      links and names of inputs lead here
    area/here/                                                             the inputs, the store, the current folder
    """

    def __init__(self, folder):
        self.folder, self.here, self.outside = folder, folder / "here", folder / "outside"
        self._make()
        self._before = self._state()

    @contextlib.contextmanager
    def case(self):
        """A fresh `here`, and a look at the canary afterwards."""
        shutil.rmtree(self.here, ignore_errors=True)
        self.here.mkdir()
        try:
            yield self.here
        finally:
            after = self._state()
            if after != self._before:
                before, self._before = self._before, None
                shutil.rmtree(self.folder)
                self._make()
                self._before = self._state()
                changed = sorted({name for name, *_ in before ^ after})
                raise AssertionError(f"touched outside of the run's folder: {changed}")

    def _make(self):
        (self.outside / "deep").mkdir(parents=True)
        self.here.mkdir()
        (self.outside / "id_rsa").write_text("a private key")
        os.link(self.outside / "id_rsa", self.outside / "id_rsa.bak")
        (self.outside / "notes.txt").write_text("a red circle\na blue square\n")
        (self.outside / "deep/model.safetensors").write_bytes(b"weights")
        (self.outside / "part-00000.parquet").write_bytes(b"a table of another run")

    def _state(self):
        """Name, mode, size, times and content of all that is no input."""
        found = set()
        for folder, folders, files in os.walk(self.folder):
            folders[:] = [name for name in folders if Path(folder, name) != self.here]
            for name in (*folders, *files):
                path = Path(folder, name)
                stat = path.lstat()
                content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
                about = (stat.st_mode, stat.st_nlink, stat.st_size, stat.st_mtime_ns, content)
                found.add((str(path.relative_to(self.folder)), *about))
        return found


def attack(strategy, meet, count, seeded=None):
    """Give `meet` so many inputs; return how many it accepted and refused. The first fault fails with its input."""
    counted = Counter()

    def hostile_input(case):
        counted[meet(case)] += 1

    tried = given(strategy)(hostile_input)
    if seeded is not None:
        tried = seed(seeded)(tried)
    settings(settings.get_profile("hostile"), max_examples=count, derandomize=seeded is None)(tried)()
    return counted
