"""The library's log in the node's log, and the intervals of repeated warnings."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from rclpy.impl.rcutils_logger import RcutilsLogger

LIBRARY = "km3d_ros"
FIRST_WAIT, LONGEST_WAIT = 5.0, 300.0
LOG_PERIOD = 5.0
"""Seconds between two log messages about the same problem."""


@contextmanager
def library_log(logger: RcutilsLogger) -> Iterator[None]:
    """Forward log messages of the library, from INFO on, to a node's logger inside `with`."""
    library, handler = logging.getLogger(LIBRARY), _Handler(logger)
    level = library.level
    library.addHandler(handler)
    library.setLevel(logging.INFO)
    try:
        yield
    finally:
        library.removeHandler(handler)
        library.setLevel(level)


class Backoff:
    """Decides when a persistent problem is logged again: after 5, 10, 20, ... 300 seconds."""

    def __init__(self) -> None:
        self._key, self._next, self._wait = "", 0.0, FIRST_WAIT

    def is_due(self, message: str, now: float) -> bool:
        """Whether to log a message now. Messages that differ only in numbers count as the same.

        now: seconds on a steady clock.
        """
        key = re.sub(r"\d+", "", message)
        if key != self._key:
            self._key, self._next, self._wait = key, now, FIRST_WAIT
        if now < self._next:
            return False
        self._next = now + self._wait
        self._wait = min(2 * self._wait, LONGEST_WAIT)
        return True


class _Handler(logging.Handler):
    def __init__(self, logger: RcutilsLogger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        # A call site of rclpy keeps its severity: hence one for each.
        if record.levelno >= logging.WARNING:
            self._logger.warning(record.getMessage())
        else:
            self._logger.info(record.getMessage())
