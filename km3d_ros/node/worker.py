"""A thread that processes only the newest items."""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition, Thread
from typing import Generic, TypeVar

Source = TypeVar("Source")
Item = TypeVar("Item")


class NewestWorker(Generic[Source, Item]):
    """Calls `handle` with the newest item of each source, in its own thread.

    At most one item of each source waits. A newer item of the source replaces it and takes its
    place in the order of the sources. `handle` receives one item at a time, or all waiting items
    together. So every source gets the same share, and no source waits for a silent one. Every item
    is passed to `handle` or returned to the caller, exactly once.
    """

    def __init__(
        self, handle: Callable[[dict[Source, Item]], None], together: bool = False
    ) -> None:
        """Start the thread. `handle` must not raise."""
        self._handle = handle
        self._together = together
        self._changed = Condition()
        self._newest: dict[Source, Item] = {}
        self._stopping = False
        self._thread = Thread(target=self._run, name="km3d worker", daemon=True)
        self._thread.start()

    def offer(self, source: Source, item: Item) -> Item | None:
        """Add an item; returns the waiting item that it replaces, if any. Does not block."""
        with self._changed:
            overtaken = self._newest.get(source)
            self._newest[source] = item
            self._changed.notify()
        return overtaken

    def stop(self) -> dict[Source, Item]:
        """Finish the items in work and end the thread; returns the waiting items."""
        with self._changed:
            self._stopping = True
            waiting, self._newest = self._newest, {}
            self._changed.notify()
        self._thread.join()
        del self._handle  # breaks the reference cycle with the owner: its memory is free at once
        return waiting

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._newest)
                if self._stopping:
                    return
                if self._together:
                    items, self._newest = self._newest, {}
                else:
                    first = next(iter(self._newest))
                    items = {first: self._newest.pop(first)}
            self._handle(items)
