"""One thread that works on the newest items only (design, section 8)."""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition, Thread
from typing import Generic, TypeVar

Source = TypeVar("Source")
Item = TypeVar("Item")


class NewestWorker(Generic[Source, Item]):
    """Runs `handle` on the newest offered items, in a thread of its own.

    At most one item of a source waits; a newer one takes its place. `handle` gets all that wait at
    once, so no source is served more often than another, and a silent one is not waited for.
    Every offered item is either handled or handed back exactly once: nothing queues and nothing
    gets lost silently.
    """

    def __init__(self, handle: Callable[[dict[Source, Item]], None]) -> None:
        """Start the thread; `handle` is called in it and deals with its own errors."""
        self._handle = handle
        self._changed = Condition()
        self._newest: dict[Source, Item] = {}
        self._stopping = False
        self._thread = Thread(target=self._run, name="km3d worker", daemon=True)
        self._thread.start()

    def offer(self, source: Source, item: Item) -> Item | None:
        """Leave an item to the worker; returns the one that it overtakes, if any. Never blocks."""
        with self._changed:
            overtaken = self._newest.get(source)
            self._newest[source] = item
            self._changed.notify()
        return overtaken

    def stop(self) -> dict[Source, Item]:
        """Finish the items in work and end the thread; returns those that were waiting."""
        with self._changed:
            self._stopping = True
            waiting, self._newest = self._newest, {}
            self._changed.notify()
        self._thread.join()
        del self._handle  # its owner owns this worker: without the circle, memory is free at once
        return waiting

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._newest)
                if self._stopping:
                    return
                items, self._newest = self._newest, {}
            self._handle(items)
