"""A process that finishes runs one after another: tasks on standard input, answers on standard output.

Both are lines of JSON. The output of a run goes to the log that its task names. The process ends with its parent.
"""

import gc
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from flows.common.escape import say
from flows.common.processes import end_with_parent
from flows.common.unforeseen import full_traceback, in_one_line, on_terminal

_ORDINARY = (ValueError, FloatingPointError, OSError)
"""Errors after which the process can do more tasks."""


def work(tasks: TextIO, answers: TextIO) -> None:
    """Answer each task with `{"error": null}` or an error message, and `last` if the process ends after it."""
    for line in tasks:
        task = json.loads(line)
        error, last = None, False
        _redirect_to(Path(task["log"]))
        try:
            bring(task)
        except Exception as failure:  # the answer reports it, the other runs continue
            foreseen = isinstance(failure, _ORDINARY)
            error, last = (foreseen and on_terminal(str(failure))) or in_one_line(failure), not foreseen
            say(full_traceback(failure), file=sys.stderr, flush=True)
        gc.collect()  # free the models of the run
        answers.write(json.dumps({"error": error, "last": last}) + "\n")
        answers.flush()
        if last:
            return


def bring(task: Mapping[str, Any]) -> None:
    """Finish the run of a task and evaluate its last policy, and the base unless another run has done so.

    Args:
        task: `params`, the tree of params.yaml; `links`, ids of this session; `split`, that of the final figures;
            `runs`, folders of the plan's runs.
    """
    from flows.compare.final_evaluations import evaluate_base, evaluate_last, take_base
    from flows.training.loop import call_plainly
    from flows.training.session import Session
    from stages.params.file import parse_params

    session = Session.of(parse_params(task["params"]))
    take_base(session, map(Path, task["runs"]))
    session.train(call_plainly, links=task["links"], final=False, obey=False)
    evaluate_last(session, task["split"])
    evaluate_base(session, task["split"])


def _redirect_to(log: Path) -> None:
    """Append the standard output and error of this process to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def main() -> None:
    """Work until the input ends or the parent has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends this process
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    end_with_parent(signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        return
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        work(sys.stdin, answers)


if __name__ == "__main__":
    main()
