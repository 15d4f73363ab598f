"""Ctrl-C without loss: noted, and answered between two steps."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from threading import Event

from torch.utils.data import DataLoader


@contextmanager
def noted() -> Iterator[Callable[[], bool]]:
    """While this lasts, the first Ctrl-C is only noted; a second one interrupts at once.

    Gives a function that says whether there was one.
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
    """Iterate over a loader whose processes, unlike this one, do not hear Ctrl-C."""
    # They inherit what is blocked; here a Ctrl-C waits meanwhile. To start multiprocessing's own
    # helper process would lift the block.
    resource_tracker.ensure_running()
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
