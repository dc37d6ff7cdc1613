"""The cost of the store per round, and the cost of a restart after a kill.

Rounds of 8 prompts with T = 8 and Λ = {1, 2} are trained; then the parts of storing one are timed by themselves, in
turns, and compared with a round: digests, tables and policy written and synced to disk, metrics, MLflow; and the work
of a restart before it computes: the fingerprint, every file of the run checked, MLflow's history read.

    python benchmarks/store.py prints a JSON object as its last line
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from overhead import shipped

ROUNDS, TURNS = 10, 7


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    from flows.tracking.observer import MlflowObserver
    from flows.training.loop import call_plainly
    from flows.training.session import Session
    from stages.contract.declared_stages import ROUND_STAGES
    from stages.disk.files import atomic, file_digest
    from stages.integrity.verify import verify
    from stages.readings.metrics import round_metrics

    params = shipped(f"run.rounds={ROUNDS}")
    session = Session.of(params)
    session.train(call_plainly)
    run = session.run
    last = run.round_folder(ROUNDS - 1)
    files = [path for path in last.rglob("*") if path.suffix in (".parquet", ".safetensors")]
    contents = {path: path.read_bytes() for path in files}
    tracker = MlflowObserver(params)
    tracker.show(run)
    steps = iter(range(1000, 2000))

    def write() -> None:
        for path, content in contents.items():
            with atomic(path) as temporary:
                temporary.write_bytes(content)

    parts = {
        "digests": lambda: [file_digest(path) for path in files],
        "writing and syncing": write,
        "metrics": lambda: round_metrics(run, ROUNDS - 1),
        "MLflow": lambda: tracker.round_finished(next(steps), run.metrics()[-1]),
        "restart: fingerprint and run": lambda: Session.of(params),
        "restart: every file checked": lambda: verify(run),
        "restart: MLflow": lambda: MlflowObserver(params).show(run),
    }
    measured = {name: [] for name in parts}
    for _ in range(TURNS):
        for name, work in parts.items():
            measured[name].append(seconds(work))
    medians = {name: median(values) for name, values in measured.items()}
    rows = run.metrics()[2:]
    stages = {stage.name: median(row[f"seconds/{stage.name}"] for row in rows) for stage in ROUND_STAGES}
    a_round = sum(stages.values())
    restart = sum(value for name, value in medians.items() if name.startswith("restart"))
    storing = sum(value for name, value in medians.items() if not name.startswith("restart"))
    result = {
        "round_seconds": a_round,
        "stage_seconds": stages,
        "milliseconds": {name: round(1000 * value, 2) for name, value in medians.items()},
        "bytes_a_round": sum(map(len, contents.values())),
        "bytes_checked": sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file()),
        "keeping_over_round": storing / a_round,
        "restart_over_longest_stage": restart / max(stages.values()),
    }
    print(json.dumps(result, indent=1) if os.isatty(1) else json.dumps(result))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["G2RPO_HOME"] = str(Path(folder) / "store")
        os.chdir(folder)
        main()
