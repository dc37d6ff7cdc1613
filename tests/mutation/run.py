"""Break functions one at a time, and see the test file of the module turn red: `make mutation SEED=0 COUNT=60`.

A test file is collected once. A process forked from there makes one function return None and runs the tests, for each
function of the module; one without a broken function runs first and has to be green. A function whose break is not
told so, as that of one that runs when its module is imported, is broken in a copy of the project instead. Nothing in
the working tree changes. Exits with 1 if a function was broken and its module's test file stayed green.
"""

import argparse
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest
from _pytest.main import pytest_runtestloop

sys.path.insert(0, str(Path(__file__).parent))
from functions import ROOT, Function, all_functions, break_here, broken_source, drawn

COPIED = ("flows", "stages", "g2rpo", "tests", "benchmarks", "docs", "presets", "pipelines", "deploy")
LIBRARIES = ("torch", "diffusers", "transformers", "peft", "pandas", "pyarrow.parquet", "typer", "pydantic")
"""Imported once, before the processes fork in which the tests run."""
PYTEST = ("--exitfirst", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:xdist")
LONGEST = 120
"""Seconds after which tests that a broken function keeps from ending are ended."""
_VOICE = os.fdopen(os.dup(1), "w")
"""The output of this program, whatever becomes of that of pytest."""


def main() -> None:
    """Break the functions that the arguments name, or those that the seed draws."""
    asked = _arguments()
    functions = [f for f in all_functions() if str(f).startswith(tuple(asked.only or [""]))]
    if asked.count:
        functions = sorted(drawn(functions, asked.count, asked.seed), key=str)
    os.chdir(ROOT)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    for library in LIBRARIES:
        importlib.import_module(library)
    survivors = list[Function]()
    for test, group in groupby(functions, key=lambda function: function.own_test):
        survivors += _survivors(test, list(group))
    print(f"{len(functions) - len(survivors)} of {len(functions)} broken functions were told by their own test file")
    for function in survivors:
        print(f"not told: {function}")
    sys.exit(bool(survivors))


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw")
    parser.add_argument("--count", type=int, help="how many functions to draw; all without it")
    parser.add_argument("only", nargs="*", help="functions whose name begins so, as stages/store/run.py:Run")
    return parser.parse_args()


def _survivors(test: str, functions: list[Function]) -> list[Function]:
    """Return the functions of which this test file does not tell that they are broken."""
    with tempfile.TemporaryDirectory() as folder:
        breaker = _Breaker(functions, Path(folder) / "told")
        status = _forked(lambda: pytest.main([*PYTEST, test], plugins=[breaker]), Path(folder))
        told = set(breaker.told.read_text().splitlines()) if breaker.told.exists() else set()
    if status:
        print(f"{test} has to be green before a function is broken, pytest ends with {status}", file=_VOICE, flush=True)
        return functions
    return [function for function in functions if str(function) not in told and not _is_told_by_a_copy(function)]


class _Breaker:
    """A plugin of pytest that runs what is collected once for each function, with it broken, in a forked process."""

    def __init__(self, functions: list[Function], told: Path) -> None:
        self.functions = functions
        self.told = told

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the tests as they are, then with each function broken; note the functions that are told."""
        if not self._is_red(session, None):
            for function in self.functions:
                begun = time.monotonic()
                if self._is_red(session, function):
                    with self.told.open("a") as told:
                        told.write(f"{function}\n")
                    _say("red", function, begun)
        else:
            session.testsfailed = 1
        return True

    def _is_red(self, session, function):
        def tests():
            if function and not break_here(function):
                return 0
            try:
                pytest_runtestloop(session)
            except (session.Failed, session.Interrupted, KeyboardInterrupt):
                return pytest.ExitCode.TESTS_FAILED
            return int(session.testsfailed > 0)

        with tempfile.TemporaryDirectory() as folder:
            return _has_failed(_forked(tests, Path(folder), LONGEST))


def _is_told_by_a_copy(function: Function) -> bool:
    """Whether the test file fails in a copy of the project in whose source the function is broken."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for path in ROOT.iterdir():
            if path.is_file():
                shutil.copy(path, copy)
            elif path.name in COPIED:
                shutil.copytree(path, copy / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        (copy / function.module).write_text(broken_source(function))

        def tests():
            os.chdir(copy)
            os.environ["PYTHONPATH"] = str(copy)
            sys.path[0] = str(copy)
            return pytest.main([*PYTEST, function.own_test])

        status = _forked(tests, copy, LONGEST)
    _say("red" if _has_failed(status) else f"NOT TOLD ({status})", function, begun)
    return _has_failed(status)


def _has_failed(status: int) -> bool:
    """Whether tests failed, were not collected, or were killed; an error of this program or of pytest is no proof."""
    return status in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED) or status < 0


def _say(verdict, function, begun):
    print(
        f"{verdict:8s} {function} by {function.own_test} in {time.monotonic() - begun:.1f} s", file=_VOICE, flush=True
    )


def _forked(call: Callable[[], int], folder: Path, longest: float | None = None) -> int:
    """Return what a call returns in a forked, silent process, 3 if it raised, -1 if it was ended after so long."""
    child = os.fork()
    if child == 0:
        status = 3
        try:
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            os.environ["PYTEST_DEBUG_TEMPROOT"] = str(folder)
            os.setpgid(0, 0)
            status = call()
        finally:
            os._exit(status)
    begun = time.monotonic()
    while longest is None or time.monotonic() - begun < longest:
        ended, status = os.waitpid(child, 0 if longest is None else os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


if __name__ == "__main__":
    main()
