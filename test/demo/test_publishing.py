from types import SimpleNamespace

import pytest
import rclpy
from std_msgs.msg import String

from km3d_ros.demo import publishing


@pytest.fixture
def ros():
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.mark.parametrize(("rate", "expected"), [(1.0, [0, 100, 400]), (0.5, [0, 200, 800])])
def test_messages_keep_their_recorded_pace_whatever_reading_takes(
    ros, monkeypatch, rate, expected
):
    """On a clock that only waiting and reading move: 30 ms for each message."""
    now = 5_000_000_000

    def wait(seconds):
        nonlocal now
        now += round(seconds * 1e9)

    def read():
        for stamp in (700, 800, 1100):
            wait(0.03)
            yield "text", String(), stamp * 1_000_000

    clock = SimpleNamespace(monotonic_ns=lambda: now, sleep=wait)
    monkeypatch.setattr(publishing, "time", clock)
    published = publishing.publish({"text": String}, read(), rate)
    assert [(p.now - published[0].now) / 1e6 for p in published] == pytest.approx(expected)
    assert [p.stamp for p in published] == [700_000_000, 800_000_000, 1_100_000_000]
