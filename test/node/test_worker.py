from threading import Event, Thread

from km3d_ros.node.worker import NewestWorker


class Gate:
    """Work that begins, and ends when it may."""

    def __init__(self):
        self.done, self.begun, self.may_end = [], Event(), Event()

    def __call__(self, item):
        self.begun.set()
        assert self.may_end.wait(10)
        self.done.append(item)


def test_newest_item_takes_the_place_of_the_waiting_one():
    gate = Gate()
    worker = NewestWorker(gate)
    assert worker.offer(1) is None
    assert gate.begun.wait(10)
    assert worker.offer(2) is None
    assert worker.offer(3) == 2
    stopping = Thread(target=lambda: gate.done.append(("waiting", worker.stop())))
    stopping.start()
    gate.may_end.set()
    stopping.join(10)
    assert gate.done in ([1, ("waiting", 3)], [1, 3, ("waiting", None)])


def test_every_item_is_handled_or_handed_back_once():
    handled, handed_back = [], []
    worker = NewestWorker(handled.append)
    for item in range(2000):
        overtaken = worker.offer(item)
        if overtaken is not None:
            handed_back.append(overtaken)
    waiting = worker.stop()
    handed_back += [] if waiting is None else [waiting]
    assert sorted(handled + handed_back) == list(range(2000))
    assert handled == sorted(handled)


def test_idle_worker_stops_at_once():
    worker = NewestWorker(lambda item: None)
    assert worker.stop() is None
    assert not worker._thread.is_alive()
