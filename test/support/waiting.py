"""Waiting for what other threads and processes do, without sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 60.0


def spin_until(executor, condition: Callable[[], bool]) -> None:
    """Serve callbacks until the condition holds; fail if it does not within PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        executor.spin_once(timeout_sec=0.02)
