"""An error that nobody foresaw: one line for the user, and its traceback in a log for those who look for the cause."""

import copy
import logging
import os
import platform
import sys
import tempfile
import traceback
from datetime import datetime
from pathlib import Path

from g2rpo.messages import escaped
from stages.disk.root import store_root
from stages.params.addresses import without_login

_LINE_CHARACTERS = 300
_LOG_CHARACTERS = 200_000


def log_unforeseen(error: BaseException) -> str:
    """Write the traceback of an error to a log, and return the line for the user.

    The log is `logs/error-….log` of the store, or a file of the temporary folder if the store cannot be written to;
    others cannot read it.
    """
    started = {"command": sys.argv, "python": sys.version, "system": platform.platform()}
    about = "".join(f"{name}: {on_terminal(str(value))}\n" for name, value in started.items())
    log = _write(about + full_traceback(error))
    where = f"Its log is {log}; please report it with this file" if log else "Please report it"
    return f"an error that nobody foresaw: {in_one_line(error)}. {where}."


def in_one_line(error: BaseException) -> str:
    """Return the class and the message of an error, shortened. Example: `KeyError: 'outputs'`."""
    line = " ".join(on_terminal("".join(traceback.format_exception_only(error))).split())
    return line if len(line) <= _LINE_CHARACTERS else f"{line[:_LINE_CHARACTERS]}…"


def full_traceback(error: BaseException) -> str:
    """Return the traceback of an error, without what a terminal would obey; of a very long one, beginning and end."""
    text = on_terminal("".join(traceback.format_exception(error)))
    if len(text) <= _LOG_CHARACTERS:
        return text
    half = _LOG_CHARACTERS // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"


def on_terminal(text: str) -> str:
    r"""Return a text of others with escapes for what a terminal would obey, and without logins in addresses.

    Line feeds stay. Example: `https://***@host \x1b[2J` for `https://name:password@host` and a clear screen.
    """
    return escaped(without_login(text), keep="\n")


def name_errors_in_one_line() -> None:
    """Have Prefect's console name errors without their tracebacks; Prefect's page still shows these."""
    from prefect.logging.handlers import PrefectConsoleHandler

    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrefectConsoleHandler) and not isinstance(handler.formatter, _OneLine):
            handler.setFormatter(_OneLine(handler.formatter))


class _OneLine(logging.Formatter):
    """Another formatter without tracebacks; the record stays whole for the handlers that come after."""

    def __init__(self, inner: logging.Formatter | None) -> None:
        super().__init__()
        self._inner = inner or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        shown = copy.copy(record)
        shown.exc_info = shown.exc_text = None
        return self._inner.format(shown)


def _write(text: str) -> Path | None:
    begin = f"error-{datetime.now().astimezone():%Y%m%d-%H%M%S}-"
    for folder in (store_root() / "logs", Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(".log", begin, folder)
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as log:
                log.write(text)
        except OSError:
            continue
        return Path(name)
    return None
