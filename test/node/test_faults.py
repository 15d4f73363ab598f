"""Bad days: what disappears and comes back, and what must not stay."""

import shutil
import weakref

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from support.camera_process import play
from support.mortal import context
from vision_msgs.msg import Detection3DArray

from km3d_ros.inference import detector

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


@pytest.fixture
def camera():
    """Starts processes that publish frames."""
    processes = []

    def camera():
        processes.append(context().Process(target=play))
        processes[-1].start()
        return processes[-1]

    yield camera
    for process in processes:
        process.kill()
        process.join()


class Participant:
    """A camera and a listener in a DDS participant of their own."""

    def __init__(self, bench):
        self.heard = []
        self._bench = bench
        self._context = Context()
        self._context.init()
        self._node = Node("participant", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._images = self._node.create_publisher(Image, "image", 10)
        self._infos = self._node.create_publisher(CameraInfo, "camera_info", 10)
        self._node.create_subscription(Detection3DArray, "/km3d/detections", self.heard.append, 10)

    def show(self, stamp):
        """Publish a frame until its answer arrives."""

        def answered():
            self._infos.publish(self._bench.info(stamp))
            self._images.publish(self._bench.image(stamp))
            self._executor.spin_once(timeout_sec=0.02)
            return any(message.header.stamp.sec == stamp for message in self.heard)

        self._bench.spin_until(answered)

    def close(self):
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()


def totals(bench):
    return bench.node.statistics[""].totals()


def test_weights_that_vanish_between_two_configurations_are_named_until_they_return(
    bench, tmp_path
):
    weights = tmp_path / "moved.safetensors"
    shutil.copy(bench.weights, weights)
    node = bench.create(weights=str(weights), autostart=False)
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_cleanup() == SUCCESS
    weights.unlink()
    assert node.trigger_configure() == FAILURE
    level, message, _ = bench.report()
    assert level == DiagnosticStatus.ERROR
    assert message == f"cannot configure: {weights}: no such file"
    shutil.copy(bench.weights, weights)
    assert node.trigger_configure() == SUCCESS
    assert bench.report()[:2] == (DiagnosticStatus.OK, "inactive")


def test_camera_that_is_killed_and_started_again_is_answered_again(bench, camera):
    bench.start()

    def silent():
        bench.clock.now += 3.0
        return bench.report()[1].startswith("images stopped: none on /image for")

    for _ in range(2):
        answered = totals(bench).answered
        process = camera()
        bench.spin_until(lambda before=answered: totals(bench).answered > before + 1)
        process.kill()
        process.join()
        bench.spin_until(silent)
    assert totals(bench).faults == 0


def test_participant_that_leaves_and_joins_again_is_answered_again(bench):
    bench.start()
    for stamp in (1, 2):
        participant = Participant(bench)
        participant.show(stamp)
        participant.close()
    assert totals(bench).faults == 0


def test_cleanup_gives_back_the_network(bench, monkeypatch):
    backends = []
    choose = detector.choose

    def remembered(*wanted):
        choice = choose(*wanted)
        backends.append(weakref.ref(choice.backend))
        return choice

    monkeypatch.setattr(detector, "choose", remembered)
    bench.start(backend="auto")
    bench.infos.publish(bench.info())
    bench.images.publish(bench.image())
    bench.spin_until(lambda: totals(bench).answered == 1)
    (backend,) = backends
    assert backend() is not None
    assert bench.node.trigger_deactivate() == SUCCESS
    assert bench.node.trigger_cleanup() == SUCCESS
    assert backend() is None
