"""`kill -9` of the real command, again and again, and what a run must be once it has come to its end.

Where a kill hit is read from the disk afterwards: a run lies between two of its commits, whose order an unkilled
reference run has left in the times of its files.
"""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient
from repetition import same_numbers
from tiny import ROOT, tables
from tracking import of_the_run

from stages.disk.files import read_sealed
from stages.integrity.verify import verify
from stages.store.run import Run

_START_SECONDS = 8.0  # imports, checks, MLflow: before a session has begun
_DATABASE_SECONDS = 1.2
_STEP_SECONDS = 0.05  # what is no stage: metrics and HEAD, links of an export
_PATIENCE = 600.0

_SITECUSTOMIZE = '''
"""Kill the own process group at the n-th event that the pattern finds, or right after it."""
import os, re, signal, sys

left, after = int(os.environ["KILL_NTH"]), bool(os.environ["KILL_AFTER"])
pattern = re.compile(os.environ["KILL_AT"])
PLACE = {"os.rename": 1, "os.link": 1, "os.remove": 0, "shutil.rmtree": 0}

def hook(event, arguments):
    global left
    found = event in PLACE and pattern.search(f"{event} {arguments[PLACE[event]]}")
    if left == 0 and event != "os.killpg" or found and left == 1 and not after:
        left = 0
        os.killpg(0, signal.SIGKILL)
    left -= bool(found)

sys.addaudithook(hook)
'''


@dataclass(frozen=True)
class Within:
    """A moment by the clock, in the next phase of a name. Example: "rollout", 0.4 of the seconds it took before."""

    phase: str
    fraction: float

    def __str__(self):
        return f"within {self.phase}, at {self.fraction:.2f}"


@dataclass(frozen=True)
class At:
    """The n-th change of the disk, from now, that a pattern finds. Example: `os.rename .*/rollout.json`."""

    change: str
    nth: int = 1
    after: bool = False

    def __str__(self):
        return f"{'after' if self.after else 'before'} #{self.nth} of {self.change}"


@dataclass(frozen=True)
class Commit:
    """A file that ends a phase. Example: phase "rollout", rounds/0003/rollout.json, 0.03 s in the reference run."""

    phase: str
    path: str
    seconds: float

    def reached(self, folder):
        if self.phase == "round end":
            return finished(folder) > int(Path(self.path).stem)
        return (folder / self.path).is_file()


def commits(folder):
    """The commits of a run that has ended, in their order."""
    found = [*folder.glob("rounds/*/*.json"), *folder.glob("metrics/*.json"), *folder.glob("evaluations/*/*.json")]
    ordered = sorted((path for path in found if path.name != "pruned.json"), key=lambda path: path.stat().st_mtime_ns)
    return [
        Commit(
            "round end" if path.parent.name == "metrics" else path.stem,
            str(path.relative_to(folder)),
            json.loads(path.read_text()).get("seconds", _STEP_SECONDS),
        )
        for path in ordered
    ]


def finished(folder):
    return Run(folder).num_finished


def touched(paths, since):
    """Whether a file has been written to since then; files may vanish while we look."""
    with suppress(FileNotFoundError):
        return any(path.stat().st_mtime > since for path in paths)
    return False


class Killer:
    """Starts one command again and again, and kills it; keeps a log of where each kill hit."""

    def __init__(self, command, reference, words, *, exported, **environment):
        self._command, self._words = command, [*words, "--export", str(exported)]
        self._folder = command.store / "runs" / reference.run_folder().name
        self._commits = commits(reference.run_folder())
        self._hook = command.store.parent / "hook"
        self._hook.mkdir()
        (self._hook / "sitecustomize.py").write_text(_SITECUSTOMIZE)
        self._said = command.store.parent / "stderr.txt"
        self._environment = command.environment | {"PYTHONPATH": ""} | environment
        self.phases = []
        self.log = ""

    def kill(self, aim):
        """Start the command, kill it at a moment, and note where it stood."""
        known, began = self._sessions(), time.monotonic()
        process = self._start(aim)
        try:
            self._wait_for(aim, process, known)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        seconds = time.monotonic() - began
        assert process.wait(_PATIENCE) == -signal.SIGKILL, f"{aim}: not hit\n{self._said.read_text()}\n{self.log}"
        phase, following = self._where(known)
        self.phases.append(phase)
        self.log += f"{len(self.phases):3d} {seconds:6.2f} s  {phase:9s}  {following:37s}  {aim}\n"
        (self._command.store.parent / "kills.txt").write_text(self.log)

    def finish(self):
        """Let the command come to its end."""
        ended = self._start().wait(_PATIENCE)
        assert ended == 0, f"{self._said.read_text()}\n{self.log}"

    def _start(self, aim=None):
        environment = {}
        if isinstance(aim, At):
            at = {"KILL_AT": aim.change, "KILL_NTH": str(aim.nth), "KILL_AFTER": "1" if aim.after else ""}
            environment = at | {"PYTHONPATH": str(self._hook)}
        with self._said.open("w") as said:
            return subprocess.Popen(
                self._words,
                cwd=ROOT,
                env=self._environment | environment,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )

    def _wait_for(self, aim, process, known):
        """Wait until the process has killed itself; or until a phase has begun, and then for a part of its time."""
        if isinstance(aim, At):
            process.wait(_PATIENCE)
            return
        has_begun, seconds = self._phase(aim.phase, known)
        deadline = time.monotonic() + _PATIENCE
        while not has_begun():
            assert process.poll() is None, f"{aim}: ended before\n{self._said.read_text()}\n{self.log}"
            assert time.monotonic() < deadline, f"{aim}: never begun\n{self.log}"
            time.sleep(0.001)
        time.sleep(aim.fraction * seconds)

    def _phase(self, name, known):
        """How to see that the next phase of a name has begun, and how long it may take."""
        if name == "start":
            return lambda: True, _START_SECONDS
        if name == "database":  # MLflow makes it in the first start
            now, found = time.time(), self._command.store.glob
            return lambda: touched(found("*mlflow.db*"), now), _DATABASE_SECONDS
        place = self._next(name)
        before = self._commits[place - 1] if place else None
        seconds = self._commits[place].seconds if place < len(self._commits) else _STEP_SECONDS
        return lambda: self._begun(known) and (before is None or before.reached(self._folder)), seconds

    def _next(self, phase):
        """The place of the next commit that ends a phase; past the last one lies the export."""
        places = (place for place, commit in enumerate(self._commits) if commit.phase == phase)
        return next((n for n in places if not self._commits[n].reached(self._folder)), len(self._commits))

    def _sessions(self):
        about = read_sealed(self._folder / "run.json") or {}
        return about.get("sessions", [])

    def _begun(self, known):
        """Whether this process, not one before it, has MLflow open and goes on with the rounds."""
        sessions = self._sessions()
        return len(sessions) > len(known) and "mlflow_run_id" in sessions[-1]

    def _where(self, known):
        """The phase in which the process died, and the commit that it owes."""
        owed = next((commit for commit in self._commits if not commit.reached(self._folder)), None)
        phase = owed.phase if owed else "export"
        if not self._begun(known):
            phase = "start"
        elif not self._is_logged(ended=owed is None):
            phase = "logging"
        return phase, owed.path if owed else "-"

    def _is_logged(self, *, ended):
        """Whether MLflow shows all rounds and evaluations that are done; at the end, that they have ended."""
        with TemporaryDirectory() as copy:
            for path in self._command.store.glob("mlflow.db*"):
                shutil.copy(path, copy)
            database = sqlite3.connect(Path(copy) / "mlflow.db")
            keys = "SELECT key, step FROM metrics WHERE key = 'round' OR key LIKE 'held_out/%'"
            logged = {("/".join(key.split("/")[:2]), step) for key, step in database.execute(keys)}
            states = {state for (state,) in database.execute("SELECT status FROM runs")}
            database.close()
        rounds = {("round", number + 1) for number in range(finished(self._folder))}
        judged = {(f"held_out/{split}", number) for number, split in Run(self._folder).evaluations()}
        return rounds | judged <= logged and (states == {"FINISHED"} or not ended)


def outcome(command):
    """All of an ended run that a repetition must reproduce, and what must not be left of a kill."""
    folder = command.run_folder()
    client = MlflowClient(tracking_uri=f"sqlite:///{command.store / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments(ViewType.ALL)]
    (run,) = client.search_runs(experiments, run_view_type=ViewType.ALL)
    last = of_the_run(run)
    history = {key: client.get_metric_history(run.info.run_id, key) for key in last}
    steps = {key: [entry.step for entry in entries] for key, entries in history.items()}
    return {
        "tables": {name: sha256(content).hexdigest() for name, content in tables(folder).items()},
        "metrics": [same_numbers(metrics) for metrics in Run(folder).metrics()],
        "damage": [str(damage) for damage in verify(Run(folder))],
        "left behind": [str(path) for path in command.store.parent.rglob(".*.tmp")],
        "steps": steps,
        "steps twice": [key for key, found in steps.items() if found != sorted(set(found))],
        "values": same_numbers({key: [entry.value for entry in entries] for key, entries in history.items()}),
        "shown": same_numbers(last),
        "parameters": run.data.params,
        "pictures": _pictures(client, run.info.run_id),
        "status": run.info.status,
    }


def _pictures(client, run_id):
    """How often each picture is there, by split, step and kind of file."""
    images = [Path(image.path) for image in client.list_artifacts(run_id, "images")]
    return Counter(path.name.split("+timestamp+")[0] + path.suffix for path in images)


def files(folder):
    """Every file of a run, by name, but for the lock, which is never exported."""
    kept = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in kept}
