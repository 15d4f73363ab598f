from threading import Event, Semaphore, Thread

from km3d_ros.node.worker import NewestWorker


class Gate:
    """Work that begins, and ends when it may."""

    def __init__(self):
        self.done, self.begun, self.may_end, self.ended = [], Event(), Event(), Semaphore(0)

    def __call__(self, items):
        self.begun.set()
        assert self.may_end.wait(10)
        self.done.append(items)
        self.ended.release()


def test_newest_item_takes_the_place_of_the_waiting_one():
    gate = Gate()
    worker = NewestWorker(gate)
    assert worker.offer("front", 1) is None
    assert gate.begun.wait(10)
    assert worker.offer("front", 2) is None
    assert worker.offer("front", 3) == 2
    stopping = Thread(target=lambda: gate.done.append(("waiting", worker.stop())))
    stopping.start()
    gate.may_end.set()
    stopping.join(10)
    first = {"front": 1}
    newest = {"front": 3}
    assert gate.done in ([first, ("waiting", newest)], [first, newest, ("waiting", {})])


def test_sources_that_wait_are_handled_together_and_a_silent_one_is_not_waited_for():
    gate = Gate()
    worker = NewestWorker(gate, together=True)
    worker.offer("front", 1)
    assert gate.begun.wait(10)
    for item in range(2, 9):
        worker.offer("front", item)
    assert worker.offer("left", 1) is None
    gate.may_end.set()
    assert gate.ended.acquire(timeout=10)
    assert gate.ended.acquire(timeout=10)
    worker.stop()
    assert gate.done == [{"front": 1}, {"front": 8, "left": 1}]


def test_sources_take_turns_when_items_are_handled_one_by_one():
    gate = Gate()
    worker = NewestWorker(gate)
    worker.offer("front", 1)
    assert gate.begun.wait(10)
    for source, item in (("front", 2), ("left", 1), ("front", 3), ("right", 1)):
        worker.offer(source, item)
    gate.may_end.set()
    for _ in range(4):
        assert gate.ended.acquire(timeout=10)
    worker.stop()
    assert gate.done == [{"front": 1}, {"front": 3}, {"left": 1}, {"right": 1}]


def test_every_item_is_handled_or_handed_back_once():
    handled, handed_back = [], []
    worker = NewestWorker(lambda items: handled.extend(items.items()))
    offered = [(source, item) for item in range(1000) for source in ("front", "left")]
    for source, item in offered:
        overtaken = worker.offer(source, item)
        if overtaken is not None:
            handed_back.append((source, overtaken))
    handed_back += worker.stop().items()
    assert sorted(handled + handed_back) == sorted(offered)
    for name in ("front", "left"):
        items = [item for source, item in handled if source == name]
        assert items == sorted(items)


def test_idle_worker_stops_at_once():
    worker = NewestWorker(lambda items: None)
    assert worker.stop() == {}
    assert not worker._thread.is_alive()
