"""What the plain library logs, in the log of the node."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rclpy.impl.rcutils_logger import RcutilsLogger

LIBRARY = "km3d_ros"


@contextmanager
def library_log(logger: RcutilsLogger) -> Iterator[None]:
    """Give what the library logs meanwhile, from INFO on, to the logger of a node."""
    library, handler = logging.getLogger(LIBRARY), _Handler(logger)
    level = library.level
    library.addHandler(handler)
    library.setLevel(logging.INFO)
    try:
        yield
    finally:
        library.removeHandler(handler)
        library.setLevel(level)


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
