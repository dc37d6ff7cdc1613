"""A stand-in for a process of `flows.compare.plan_processes`: it replies as its task demands and computes nothing."""

import sys

_SCRIPT = """#!{python} -S
import json, os, signal, sys, time
from pathlib import Path
for line in sys.stdin:
    task = json.loads(line)
    with open(task["log"], "a") as log:
        print(os.getpid(), file=log)
    while any(not Path(path).exists() for path in task.get("until", [])):
        time.sleep(0.01)
    if "die" in task:
        os.kill(os.getpid(), task["die"])
    if "sleep" in task:
        time.sleep(task["sleep"])
    error = task.get("error") or os.environ.get("FAILS_" + task.get("links", {{}}).get("method", ""))
    print(json.dumps({{"error": error, "last": task.get("last", False)}}), flush=True)
    told = task.get("ended")
time.sleep(0.1)
if told:
    Path(told).touch()
"""


def stand_in(folder, monkeypatch, **fails):
    """Use this process in place of the real one; a run of a method of `fails` fails with that error."""
    script = folder / "python"
    script.write_text(_SCRIPT.format(python=sys.executable))
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    for method, error in fails.items():
        monkeypatch.setenv(f"FAILS_{method}", error)
