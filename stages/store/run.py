"""Runs on disk: `$G2RPO_HOME/runs/<key>`, one folder per round, one manifest per finished stage.

    runs/<key>/run.json params.yaml lock HEAD base/ prompts/ metrics/0042.json
    runs/<key>/rounds/0042/{prompts,...,policy}/, <stage>.json and, if outputs were pruned, pruned.json
    runs/<key>/evaluations/0042-tuning/{evaluations,pictures}/ and evaluate.json

The key is the fingerprint of everything that changes the numbers; rounds, evaluation, retention and tracking do not.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from g2rpo.messages import shown
from stages.contract.declared_stages import EVALUATE, POLICY_INPUTS, ROUND_STAGES, Stage
from stages.disk.files import make_folder, write_sealed, write_text
from stages.disk.policy_state import write_base
from stages.disk.records import AboutRecord, MetricsRecord, read_record
from stages.disk.root import store_root
from stages.params.file import load_stored_params, written
from stages.params.record import Params
from stages.store.adopted import is_foreign
from stages.store.fingerprint import Fingerprint
from stages.store.lock import locked
from stages.store.run_files import evaluations_of, require_no_links
from stages.texts.lists import with_prompts, write_prompt_lists

_KEY = re.compile("[0-9a-f]{16}")
_DIGITS = 6  # of a number of rounds
_MOST_READ = 1000  # bytes of HEAD
_SHORTEST = 4  # characters of a key by which a run may be named

WRITER = {table: stage for stage in ROUND_STAGES for table in stage.outputs}
"""The stage that writes a table, or the policy."""


@dataclass(frozen=True)
class Run:
    """A run of the store, or a copy of one elsewhere. Example: `Run(Path(".g2rpo/runs/3fa9c1d20b7e4488"))`."""

    path: Path

    @property
    def about(self) -> dict[str, Any]:
        """The content of run.json: key, fingerprint, time of creation, and each session.

        Raises:
            ValueError: If the file is damaged.
        """
        about = read_record(self.path / "run.json", AboutRecord)
        if about is None:
            raise ValueError(
                f"{self.path / 'run.json'} must be as it was written, got a damaged or edited file. Run the command "
                "that made the run again, with its parameters and not its key: it rewrites the file."
            )
        return about

    @property
    def key(self) -> str:
        """The digest of the fingerprint."""
        return self.about["key"]

    @property
    def fingerprint(self) -> Fingerprint:
        """The inputs of its numbers."""
        return Fingerprint(self.about["fingerprint"])

    @property
    def num_finished(self) -> int:
        """Number of complete rounds.

        Raises:
            ValueError: If HEAD is damaged.
        """
        head = self.path / "HEAD"
        if not head.is_file():
            return 0
        content = self.head().strip()
        if not (content.isdigit() and len(content) <= _DIGITS):
            raise ValueError(
                f"{head} must be a number of rounds, got {shown(content)}. Run the command that made the run again: it "
                "counts them anew."
            )
        return int(content)

    def head(self) -> bytes:
        """Return what HEAD holds, or the beginning of more than it may."""
        with (self.path / "HEAD").open("rb") as file:
            return file.read(_MOST_READ)

    def params(self) -> Params:
        """Return the parameters of the run's last start, with the prompt lists in its own folder, and no other."""
        return with_prompts(load_stored_params(self.path / "params.yaml"), self.prompts)

    @property
    def prompts(self) -> Path:
        """The folder of the run's own prompt lists, so that it can continue from any place."""
        return self.path / "prompts"

    def round_folder(self, number: int) -> Path:
        """Return the folder of a round, counted from 0."""
        return self.path / "rounds" / f"{number:04d}"

    def evaluation_folder(self, policy_round: int, split: str) -> Path:
        """Return the folder of an evaluation; policy_round 0 is the base, n the policy after n rounds."""
        return self.path / "evaluations" / f"{policy_round:04d}-{split}"

    def evaluations(self) -> list[tuple[int, str]]:
        """Return (policy_round, split) of the existing evaluations, in order."""
        return evaluations_of(self.path)

    def policy_folder(self, policy_round: int) -> Path:
        """Return the folder of the policy after so many rounds; 0 is the base."""
        return self.path / "base" if policy_round == 0 else self.round_folder(policy_round - 1) / "policy"

    def stage_folder(self, stage: Stage, number: int, params: Params) -> Path:
        """Return the folder that a stage writes into; for `evaluate` the number is that of the policy."""
        if stage == EVALUATE:
            return self.evaluation_folder(number, params.evaluate.split)
        return self.round_folder(number)

    def inputs(self, stage: Stage, number: int) -> dict[str, Path]:
        """Return the folders that a stage reads: tables of its round, and the policy after `number` rounds.

        That policy samples the round, or with `placement.staleness` the one before.
        """
        folder = self.round_folder(number)
        behind = max(0, number - self._staleness)
        policies: dict[str, Path] = dict.fromkeys(POLICY_INPUTS, self.policy_folder(number))
        policies["behaviour_policy"] = self.policy_folder(behind)
        return {name: policies.get(name, folder / name) for name in stage.inputs}

    @cached_property
    def _staleness(self) -> int:
        return self.fingerprint.values["placement.staleness"]

    def remember(self, params: Params) -> Params:
        """Store the parameters and prompt lists with which the run continues; return them as `params` would.

        They may differ from the stored ones only in keys that change no number.
        """
        write_prompt_lists(params, self.prompts)
        write_text(self.path / "params.yaml", written(params))
        return with_prompts(params, self.prompts)

    def begin_session(self, links: Mapping[str, str]) -> None:
        """Note in run.json that a process continues the run, with the ids of the session in other tools.

        Args:
            links: Such as `git_commit`, `dvc_experiment`, `mlflow_run_id`.
        """
        about = self.about
        session = {"started_at": time.time(), "first_round": self.num_finished} | dict(links)
        write_sealed(self.path / "run.json", about | {"sessions": [*about["sessions"], session]})

    def link(self, name: str, value: str) -> None:
        """Note an id of the last session that is known only after its start."""
        about = self.about
        *earlier, last = about["sessions"]
        if last.get(name) != value:
            write_sealed(self.path / "run.json", about | {"sessions": [*earlier, last | {name: value}]})

    @property
    def parent(self) -> dict[str, Any] | None:
        """If the run continues from another's best round: that run's `key`, `round`, `reason` and `generation`."""
        return self.about.get("parent")

    @property
    def links(self) -> dict[str, str]:
        """The ids of the last session in other tools, such as `git_commit`, `mlflow_run_id`."""
        sessions = self.about["sessions"] or [{}]
        return {name: value for name, value in sessions[-1].items() if isinstance(value, str)}

    def write_metrics(self, number: int, metrics: dict[str, float]) -> None:
        """Write the metrics of a round, one file per round."""
        write_sealed(self.metrics_path(number), metrics)

    def metrics_path(self, number: int) -> Path:
        """Return the file of a round's metrics."""
        return self.path / "metrics" / f"{number:04d}.json"

    def metrics(self, first: int = 0) -> list[dict[str, float]]:
        """Return the metrics of the finished rounds from `first` on, in order.

        Raises:
            ValueError: If one of their files is damaged or missing.
        """
        return [self._metrics_of(number) for number in range(first, self.num_finished)]

    def _metrics_of(self, number: int) -> dict[str, float]:
        metrics = read_record(self.metrics_path(number), MetricsRecord)
        if metrics is None:
            raise ValueError(
                f"{self.metrics_path(number)} must be as it was written, got a damaged file or none. Run the command "
                "that made the run again: it rewrites the file."
            )
        return metrics

    def finish_round(self, number: int) -> None:
        """Move HEAD past a round; the last action of a round."""
        write_text(self.path / "HEAD", f"{number + 1}\n")


def run_of(fingerprint: Fingerprint) -> Run:
    """Return the run of a fingerprint in the store, whether it exists or not."""
    return Run(store_root() / "runs" / fingerprint.key)


def open_run(params: Params, *, device: str) -> Run:
    """Return the run of these parameters; create it if it is new.

    Raises:
        ValueError: If base weights, rewards or prompts are missing.
        StoreWriteError: If the store cannot be written to.
    """
    fingerprint = Fingerprint.of(params, device)
    run = run_of(fingerprint)
    if not is_run(run.path):
        make_folder(run.path)
        with locked(run.path):
            write_about(run, params, fingerprint)
    return run


def is_run(folder: Path) -> bool:
    """Whether a run lies in a folder."""
    return read_record(folder / "run.json", AboutRecord) is not None


def write_about(run: Run, params: Params, found: Fingerprint, **more: Any) -> None:
    """Write run.json, with `more` in it, and the base policy, parameters and prompts; the run must be locked."""
    write_base(run.policy_folder(0), found.values["origins.policy"])
    run.remember(params)
    about = {"key": found.key, "created_at": time.time(), "fingerprint": dict(found.values), "sessions": []}
    write_sealed(run.path / "run.json", about | more)


NEWEST = "newest"
"""In place of a run's key: the run that began last, of those whose parameters no stranger wrote."""


def find_run(name: str) -> Run:
    """Return the run whose key is, or uniquely begins with, the name; or the run in the folder of this name.

    `newest` is the run that began last, except adopted ones and those of other users, which give any date.

    Raises:
        ValueError: If there is none, or several, or links lie in its folder.
    """
    run = _newest() if name == NEWEST else _named(name)
    require_no_links(run.path)
    return run


def _named(name: str) -> Run:
    if (Path(name) / "run.json").is_file():
        return Run(Path(name).resolve())
    runs = stored_runs()
    if len(name) < _SHORTEST:
        raise ValueError(f"At least {_SHORTEST} characters of a run's key are required, got {name!r}. {_list(runs)}")
    matches = [run for run in runs if run.path.name.startswith(name)]
    if len(matches) != 1:
        required = f"A run is required whose key begins with {name!r}, or the folder of one"
        raise ValueError(f"{required}, got {len(matches) or 'none'}. {_list(matches or runs)}")
    if not (matches[0].path / "run.json").is_file():
        raise ValueError(
            f"{matches[0].path / 'run.json'} is required, got none. Run the command that made the run again, with its "
            "parameters and not its key: it rewrites the file."
        )
    return matches[0]


def _newest() -> Run:
    runs = [run for run in stored_runs() if is_run(run.path)]
    if not runs:
        raise ValueError("A run is required, got an empty store. Train one first, as by `g2rpo train`.")
    own = [run for run in runs if not is_foreign(run.path)]
    if not own:
        raise ValueError(
            f"A run of your own is required as the newest, got {len(runs)} that were adopted or are of other users. "
            f"Name one by its key. {_list(runs)}"
        )
    return max(own, key=lambda run: run.about["created_at"])


def _list(runs: list[Run]) -> str:
    return f"Here: {', '.join(run.path.name for run in runs) or 'none'}."


def stored_runs() -> list[Run]:
    """Return the runs of the store, by key, also those that cannot be read: the folders that a key names."""
    folders = sorted((store_root() / "runs").glob("*"))
    return [Run(path) for path in folders if _KEY.fullmatch(path.name) and path.is_dir()]
