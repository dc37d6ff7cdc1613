"""Waiting for what another process will do."""

import time


def wait_for(true, seconds):
    """Return once `true()` holds; fail when the seconds are over."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
