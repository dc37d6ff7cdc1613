"""Waiting for what another process will do."""

import threading
import time


def wait_for(true, seconds):
    """Return once `true()` holds; fail when the seconds are over."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def in_place_of_sleep(monkeypatch, act):
    """Have this thread call `act(seconds)` where it would sleep; threads of servers in this process sleep on."""
    mine, sleep = threading.get_ident(), time.sleep

    def sleep_or_act(seconds):
        return act(seconds) if threading.get_ident() == mine else sleep(seconds)

    monkeypatch.setattr(time, "sleep", sleep_or_act)
