"""Where runs live: `$G2RPO_HOME/runs/<key>`, a folder a round, a manifest a finished stage.

    runs/<key>/run.json params.yaml lock HEAD base/ metrics/0042.json
    runs/<key>/rounds/0042/{prompts,...,policy}/ and <stage>.json
    runs/<key>/evaluations/0042-tuning/{evaluations,pictures}/ and evaluate.json

The key is the fingerprint of all that changes the numbers; rounds, evaluation and tracking do not.
"""

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stages.files import atomic, read_json, value_digest, write_json
from stages.params import Params
from stages.params_file import parse_params
from stages.policy_files import write_base
from stages.registry import EVALUATE, POLICY_INPUTS, Stage

ALGORITHM_VERSION = 1
"""Raised when the same parameters would give other numbers."""

_OUTSIDE_THE_FINGERPRINT = {"evaluate", "report", "tracking"}


def home() -> Path:
    """Return the folder of the store: `$G2RPO_HOME`, else `.g2rpo` in the current folder."""
    return Path(os.environ.get("G2RPO_HOME", ".g2rpo")).resolve()


def fingerprint(params: Params, base_digest: str, device: str) -> str:
    """Return the key of a run, 16 hex digits, from everything that changes its numbers."""
    tree = params.model_dump(mode="json", exclude=_OUTSIDE_THE_FINGERPRINT)
    del tree["run"]["rounds"]
    del tree["policy"]["path"]  # what lies there counts, not where
    tree["resources"]["device"] = device
    tree |= {"base_digest": base_digest, "algorithm_version": ALGORITHM_VERSION}
    return value_digest(tree)[:16]


@dataclass(frozen=True)
class Run:
    """A run of the store. Example: `Run(Path(".g2rpo/runs/3fa9c1d20b7e4488"))`."""

    path: Path

    @property
    def key(self) -> str:
        """The fingerprint."""
        return self.path.name

    @property
    def num_finished(self) -> int:
        """Rounds that are whole."""
        head = self.path / "HEAD"
        return int(head.read_text()) if head.is_file() else 0

    def params(self) -> Params:
        """Return the parameters that the run was last started with."""
        return parse_params(yaml.safe_load((self.path / "params.yaml").read_text()))

    def round_folder(self, number: int) -> Path:
        """Return the folder of a round, counted from 0."""
        return self.path / "rounds" / f"{number:04d}"

    def evaluation_folder(self, policy_round: int, split: str) -> Path:
        """Return the folder of an evaluation; policy_round 0 is the base, n the policy after n rounds."""
        return self.path / "evaluations" / f"{policy_round:04d}-{split}"

    def policy_folder(self, policy_round: int) -> Path:
        """Return the folder of the policy after so many rounds; 0 is the base."""
        return self.path / "base" if policy_round == 0 else self.round_folder(policy_round - 1) / "policy"

    def stage_folder(self, stage: Stage, number: int, params: Params) -> Path:
        """Return the folder that a stage writes into; for `evaluate` the number is that of the policy."""
        if stage == EVALUATE:
            return self.evaluation_folder(number, params.evaluate.split)
        return self.round_folder(number)

    def inputs(self, stage: Stage, number: int) -> dict[str, Path]:
        """Return the folders that a stage reads: tables of its round, and the policy after `number` rounds."""
        folder = self.round_folder(number)
        return {name: self.policy_folder(number) if name in POLICY_INPUTS else folder / name for name in stage.inputs}

    def remember(self, params: Params) -> None:
        """Store the parameters that the run now goes on with; only rounds, evaluation and tracking may differ."""
        with atomic(self.path / "params.yaml") as temporary:
            temporary.write_text(yaml.safe_dump(params.model_dump(mode="json"), sort_keys=False))

    def write_metrics(self, number: int, metrics: dict[str, float]) -> None:
        """Write the metrics of a round, a file a round."""
        write_json(self.path / "metrics" / f"{number:04d}.json", metrics)

    def metrics(self) -> list[dict[str, float]]:
        """Return the metrics of the finished rounds, in order."""
        folder = self.path / "metrics"
        return [read_json(folder / f"{number:04d}.json") for number in range(self.num_finished)]

    def finish_round(self, number: int) -> None:
        """Move HEAD past a round; the last thing that a round does."""
        with atomic(self.path / "HEAD") as temporary:
            temporary.write_text(f"{number + 1}\n")

    @contextmanager
    def locked(self) -> Generator[None]:
        """Hold the run for this process, so that nobody else writes to it.

        Raises:
            ValueError: If another process holds it; with that process's id.
        """
        with (self.path / "lock").open("a+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.seek(0)
                raise ValueError(
                    f"Run {self.key} must be free, it is held by process {handle.read().strip()}. "
                    "Wait for that process, or stop it."
                ) from None
            handle.truncate(0)
            handle.write(f"{os.getpid()}\n")
            handle.flush()
            yield


def open_run(params: Params, *, base_digest: str, device: str, created: dict[str, Any]) -> Run:
    """Return the run of these parameters, making it if it is new.

    Args:
        created: What run.json is to remember of a new run's making, such as the git commit.
    """
    key = fingerprint(params, base_digest, device)
    run = Run(home() / "runs" / key)
    if not (run.path / "run.json").is_file():
        write_base(run.policy_folder(0), base_digest)
        about = {"key": key, "algorithm_version": ALGORITHM_VERSION, "base_digest": base_digest}
        run.remember(params)
        write_json(run.path / "run.json", about | {"device": device, "created_at": time.time()} | created)
    return run


def find_run(key: str) -> Run:
    """Return the run whose key is, or uniquely begins with, the given one.

    Raises:
        ValueError: If there is none, or several.
    """
    folder = home() / "runs"
    there = sorted(path for path in folder.glob("*") if (path / "run.json").is_file())
    found = [path for path in there if path.name.startswith(key)]
    if len(found) != 1:
        names = ", ".join(path.name for path in (found or there)) or "none"
        raise ValueError(f"A run is required whose key begins with {key!r}, got {len(found)}. Here: {names}.")
    return Run(found[0])
