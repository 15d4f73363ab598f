"""Ctrl-C without loss: noted, and answered between two steps."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return iter(loader)
    finally:
        signal.signal(signal.SIGINT, former)
