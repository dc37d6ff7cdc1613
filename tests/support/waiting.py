"""Waiting for what another process will do."""

import threading
import time

_HANG = 600  # seconds; a machine under load takes minutes for what takes seconds on idle cores


def wait_for(true):
    """Return once `true()` holds; fail where it looks as if it never will."""
    deadline = time.monotonic() + _HANG
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def in_place_of_sleep(monkeypatch, act):
    """Have this thread call `act(seconds)` where it would sleep; threads of servers in this process sleep on."""
    mine, sleep = threading.get_ident(), time.sleep

    def sleep_or_act(seconds):
        return act(seconds) if threading.get_ident() == mine else sleep(seconds)

    monkeypatch.setattr(time, "sleep", sleep_or_act)
