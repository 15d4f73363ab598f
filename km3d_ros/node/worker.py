"""One thread that works on the newest item only (design, section 8)."""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition, Thread
from typing import Generic, TypeVar

Item = TypeVar("Item")


class NewestWorker(Generic[Item]):
    """Runs `handle` on the newest offered item, in a thread of its own.

    At most one item waits; a newer one takes its place. Every offered item is either handled or
    handed back exactly once, so nothing queues and nothing gets lost silently.
    """

    def __init__(self, handle: Callable[[Item], None]) -> None:
        """Start the thread; `handle` is called in it and deals with its own errors."""
        self._handle = handle
        self._changed = Condition()
        self._newest: Item | None = None
        self._stopping = False
        self._thread = Thread(target=self._run, name="km3d worker", daemon=True)
        self._thread.start()

    def offer(self, item: Item) -> Item | None:
        """Leave an item to the worker; returns the one that it overtakes, if any. Never blocks."""
        with self._changed:
            overtaken, self._newest = self._newest, item
            self._changed.notify()
        return overtaken

    def stop(self) -> Item | None:
        """Finish the item in work and end the thread; returns the one that was waiting, if any."""
        with self._changed:
            self._stopping = True
            waiting, self._newest = self._newest, None
            self._changed.notify()
        self._thread.join()
        return waiting

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._newest is not None)
                if self._stopping:
                    return
                item, self._newest = self._newest, None
            self._handle(item)
