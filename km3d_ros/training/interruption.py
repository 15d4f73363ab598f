"""Ctrl-C during a training: it takes effect between two steps."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from threading import Event

from torch.utils.data import DataLoader


@contextmanager
def noted() -> Iterator[Callable[[], bool]]:
    """In this context the first Ctrl-C only sets a flag; a second one raises KeyboardInterrupt.

    Yields a function that returns the flag.
    """
    happened = Event()

    def note(signum: int, frame: object) -> None:
        happened.set()
        signal.signal(signal.SIGINT, former)

    former = signal.signal(signal.SIGINT, note)
    try:
        yield happened.is_set
    finally:
        signal.signal(signal.SIGINT, former)


def start_loading(loader: DataLoader) -> Iterator:
    """Iterate over a loader whose processes ignore Ctrl-C."""
    # Processes inherit blocked signals. Multiprocessing unblocks them when it starts its resource
    # tracker, which therefore has to run before.
    resource_tracker.ensure_running()
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
