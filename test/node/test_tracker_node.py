"""The tracker node with real topics; it needs no weights."""

from collections.abc import Iterator

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import TransformStamped
from km3d_ros.msg import TrackedObjectArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock
from support.waiting import spin_until
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3D, Detection3DArray, ObjectHypothesisWithPose
from visualization_msgs.msg import Marker, MarkerArray

from km3d_ros.node.tracker_node import TrackerNode

MOUNTS = [
    "front 1.0 0 1.6 -1.5707963 0 -1.5707963",
    "left 1.0 0.5 1.6 -1.5707963 0 -1.0",
]


class FakeClock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A peer that plays detectors and vehicle, and the node under test."""

    def __init__(self) -> None:
        self.executor = SingleThreadedExecutor()
        self.peer = Node("peer")
        self.executor.add_node(self.peer)
        self.clock = FakeClock()
        self.node: TrackerNode | None = None
        self.received: dict[str, list] = {}
        self.detections = {
            name: self.peer.create_publisher(Detection3DArray, f"{name}/detections", 10)
            for name in ("front", "left")
        }
        self.odometry = self.peer.create_publisher(Odometry, "odometry", 10)

    def create(self, **values) -> TrackerNode:
        """The node, unconfigured."""
        values = {"inputs": ["front/detections", "left/detections"]} | values
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        self.node = TrackerNode(parameter_overrides=overrides, clock=self.clock)
        self.executor.add_node(self.node)
        for timer in self.node.timers:
            timer.cancel()
        return self.node

    def start(self, **values) -> TrackerNode:
        """The node, active, with subscribers to everything that it publishes."""
        self.create(**values)
        assert self.node.autostart()
        for message_type, name in (
            (Detection3DArray, "tracks"),
            (TrackedObjectArray, "objects"),
            (MarkerArray, "markers"),
        ):
            received = self.received[name] = []
            topic = f"/km3d_tracker/{name}"
            self.peer.create_subscription(message_type, topic, received.append, 100)
            self.wait(lambda topic=topic: self.node.count_subscribers(topic) > 0)
            self.wait(lambda topic=topic: self.peer.count_publishers(topic) > 0)
        for publisher in self.detections.values():
            self.wait(lambda p=publisher: p.get_subscription_count() == 1)
        self.wait(lambda: self.odometry.get_subscription_count() == 1)
        return self.node

    def wait(self, condition) -> None:
        spin_until(self.executor, condition)

    def send(self, sensor: str, stamp: float, *places, frame: str | None = None, **changes):
        """Publish detections, and wait until the node has used or dropped them."""
        message = array(stamp, frame or sensor, *places, **changes)
        statistics = self.node.statistics[f"/{sensor}/detections"]
        before = statistics.received
        self.detections[sensor].publish(message)
        self.wait(lambda: statistics.received > before)

    def drive(self, stamp: float, x: float = 0.0, child: str = "base_link") -> None:
        """Publish the odometry, and wait until the node has it."""
        message = Odometry(child_frame_id=child)
        message.header.frame_id = "odom"
        set_stamp(message.header, stamp)
        message.pose.pose.position.x = x
        message.pose.pose.orientation.w = 1.0
        odometry = self.node.world.odometry
        before = (len(odometry), odometry.jumps)
        self.odometry.publish(message)
        self.wait(lambda: (len(odometry), odometry.jumps) != before)

    def newest(self, name: str, stamp: float):
        """The message on one of the node's topics that has this stamp."""
        received = self.received[name]

        def stamps():
            return [m.header.stamp for m in received]

        wanted = array(stamp, "").header.stamp
        self.wait(lambda: wanted in stamps())
        return received[stamps().index(wanted)]

    def report(self, number: int = 0) -> tuple[bytes, str, dict[str, str]]:
        """Level, message and values of the diagnostics of an input."""
        health, values = self.node._health(self.node._inputs[number].topic_name)
        return health.level, health.message, {k: str(v) for k, v in values.items()}

    def close(self) -> None:
        if self.node is not None:
            self.node.destroy_node()
        self.peer.destroy_node()
        self.executor.shutdown()


def set_stamp(header, stamp: float) -> None:
    header.stamp.sec = int(stamp)
    header.stamp.nanosec = round((stamp - int(stamp)) * 1e9)


def array(stamp: float, frame: str, *places, score=0.8, covariance=None) -> Detection3DArray:
    """Cars at x (right), z (ahead) in an optical frame 1.6 m above the road, facing away."""
    message = Detection3DArray()
    message.header.frame_id = frame
    set_stamp(message.header, stamp)
    for right, ahead in places:
        detection = Detection3D()
        pose = detection.bbox.center
        pose.position.x, pose.position.y, pose.position.z = right, 0.85, ahead
        turn = pose.orientation
        turn.x, turn.y, turn.z, turn.w = 0.5, -0.5, 0.5, 0.5
        size = detection.bbox.size
        size.x, size.y, size.z = 4.2, 1.8, 1.5
        result = ObjectHypothesisWithPose()
        result.hypothesis.class_id, result.hypothesis.score = "Car", score
        variances = (0.02, 0.02, 0.1, np.pi**2, 0.02, np.pi**2)
        result.pose.covariance = np.diag(variances).flatten() if covariance is None else covariance
        detection.results.append(result)
        message.detections.append(detection)
    return message


@pytest.fixture(scope="module")
def ros() -> Iterator[None]:
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture
def bench(ros) -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def test_a_moving_vehicle_tracks_a_moving_car(bench):
    bench.start(base_frame="base_link", mounts=MOUNTS)
    for k in range(15):
        bench.drive(10 + k / 10, 0.7 * k)
        bench.send("front", 10 + k / 10, (1.0, 20.0 + 0.3 * k))
    tracks = bench.newest("tracks", 11.4)
    assert tracks.header.frame_id == "odom"
    (track,) = tracks.detections
    assert track.id == "1"
    assert track.header == tracks.header
    center = track.bbox.center
    assert center.position.x == pytest.approx(1.0 + 0.7 * 14 + 24.2, abs=0.2)
    assert center.position.y == pytest.approx(-1.0, abs=0.1)
    assert center.position.z == pytest.approx(0.75, abs=0.05)
    assert abs(center.orientation.w) == pytest.approx(1.0, abs=1e-3)
    (result,) = track.results
    assert result.hypothesis.class_id == "Car"
    assert result.hypothesis.score > 0.9
    covariance = np.array(result.pose.covariance).reshape(6, 6)
    assert np.linalg.eigvalsh(covariance).min() > 0
    assert 0 < covariance[5, 5] < 0.1
    assert covariance[3, 3] == pytest.approx(np.pi**2)
    (entry,) = bench.newest("objects", 11.4).objects
    assert entry.id == 1
    assert entry.twist.twist.linear.x == pytest.approx(10.0, abs=0.7)
    assert entry.twist.twist.linear.y == pytest.approx(0.0, abs=0.3)
    assert 0 < np.array(entry.twist.covariance).reshape(6, 6)[0, 0] < 3.0
    assert [(c.class_id, c.probability) for c in entry.classes] == [("Car", 1.0)]
    assert (entry.size.x, entry.size.y, entry.size.z) == pytest.approx((4.2, 1.8, 1.5))
    assert entry.age == pytest.approx(1.4)
    assert entry.unseen == 0.0
    assert entry.front > 0.9
    level, message, values = bench.report()
    assert (level, message) == (DiagnosticStatus.OK, "15 messages used since the last report")
    assert values["received"] == values["answered"] == "15"
    assert values["frame"] == "odom"
    assert values["tracks"] == "1"
    assert values["ground"] == "learned"


def test_a_frame_on_the_ground_is_named_in_the_diagnostics(bench):
    bench.start(base_frame="base_link", mounts=MOUNTS, ground_frame="base_link")
    bench.send("front", 10.0, (1.0, 20.0))
    bench.newest("tracks", 10.0)
    _, _, values = bench.report()
    assert values["ground"] == "base_link"


def test_markers_show_box_id_velocity_and_trail(bench):
    bench.start(base_frame="base_link", mounts=MOUNTS)
    for k in range(15):
        bench.drive(10 + k / 10, 0.7 * k)
        bench.send("front", 10 + k / 10, (1.0, 20.0 + 0.3 * k))
    bench.wait(lambda: len(bench.received["markers"]) == 15)
    markers = {marker.ns: marker for marker in bench.received["markers"][-1].markers}
    assert markers[""].action == Marker.DELETEALL
    assert markers["box"].scale.x == pytest.approx(4.2, abs=0.01)
    assert markers["label"].text.startswith("1 Car  ")
    start, end = markers["velocity"].points
    assert end.x - start.x == pytest.approx(10.0, abs=0.7)
    assert len(markers["trail"].points) == 15
    assert markers["trail"].points[-1] == start


def test_one_object_seen_by_two_cameras_has_one_id(bench):
    bench.start(base_frame="base_link", mounts=MOUNTS)
    rotation = np.array([(0, 0, 1), (-1, 0, 0), (0, -1, 0)])
    turn = np.array([(np.cos(0.57), -np.sin(0.57), 0), (np.sin(0.57), np.cos(0.57), 0), (0, 0, 1)])
    for k in range(10):
        bench.drive(10 + k / 10)
        bench.send("front", 10 + k / 10, (-8.0, 20.0), (3.0, 15.0))
        # The same place from the other camera: 21 m ahead of base_link and 8 m left.
        x, _, z = (turn @ rotation).T @ (np.array([21.0, 8.0, 0.75]) - (1.0, 0.5, 1.6))
        bench.send("left", 10 + k / 10, (x, z))
    ids = {d.id for d in bench.newest("tracks", 10.9).detections}
    assert ids == {"1", "2"}


def test_without_odometry_it_says_so_and_tracks_in_the_frame_of_the_detections(bench):
    bench.start()
    for k in range(10):
        bench.send("front", 10 + k / 10, (1.0, 20.0 + 0.5 * k))
    tracks = bench.newest("tracks", 10.9)
    assert tracks.header.frame_id == "front"
    center = tracks.detections[0].bbox.center
    assert center.position.z == pytest.approx(24.5, abs=0.3)
    assert center.position.y == pytest.approx(0.85, abs=0.05)
    turn = center.orientation
    assert np.abs((turn.x, turn.y, turn.z, turn.w)) == pytest.approx([0.5] * 4, abs=0.01)
    covariance = np.array(tracks.detections[0].results[0].pose.covariance).reshape(6, 6)
    assert 0 < covariance[4, 4] < 0.1
    twist = bench.newest("objects", 10.9).objects[0].twist.twist.linear
    assert (twist.x, twist.y) == pytest.approx((0.0, 0.0), abs=0.2)
    assert twist.z == pytest.approx(5.0, abs=0.5)
    level, message, _ = bench.report()
    assert level == DiagnosticStatus.WARN
    assert message == "no odometry on /odometry: velocities are relative to the vehicle"


def test_a_message_without_detections_is_answered_by_one_without_tracks(bench):
    bench.start()
    bench.send("front", 10.0)
    assert bench.newest("tracks", 10.0).detections == []
    assert bench.newest("objects", 10.0).objects == []
    assert bench.report()[2]["answered"] == "1"


def test_a_frame_that_is_not_known_is_counted(bench):
    bench.start(base_frame="base_link", mounts=MOUNTS[:1])
    bench.send("left", 10.0, (1.0, 20.0))
    level, message, values = bench.report(1)
    assert level == DiagnosticStatus.ERROR
    assert message.endswith(
        "no static transform from base_link to left; frames with static transforms: base_link, "
        "front"
    )
    assert values["dropped.unknown_frame"] == "1"


def test_odometry_that_stops_is_counted(bench):
    bench.start(base_frame="base_link", mounts=MOUNTS)
    for k in range(3):
        bench.drive(10 + k / 10)
    bench.send("front", 10.2, (1.0, 20.0))
    bench.send("front", 11.0, (1.0, 20.0))
    _, message, values = bench.report()
    assert message.endswith("the last one: odometry stopped 0.80 s before the detections")
    assert values["dropped.no_odometry"] == "1"


def test_odometry_that_jumps_restarts_tracking(bench):
    bench.start(base_frame="base_link", mounts=MOUNTS)
    for k in range(3):
        bench.drive(10 + k / 10)
        bench.send("front", 10 + k / 10, (1.0, 20.0))
    bench.drive(10.3, 500.0)
    bench.send("front", 10.3, (1.0, 20.0))
    assert [d.id for d in bench.newest("tracks", 10.3).detections] == ["2"]
    level, message, values = bench.report()
    assert (level, message) == (DiagnosticStatus.WARN, "odometry jumped: tracking restarted")
    assert values["odometry.jumps"] == values["restarts"] == "1"


def test_detections_that_make_no_sense_are_counted(bench):
    bench.start()
    bench.send("front", 10.0, (1.0, 20.0), (np.nan, 20.0))
    bench.send("front", 10.1, (1.0, 20.0), covariance=np.full(36, np.nan))
    assert len(bench.newest("tracks", 10.1).detections) == 1
    level, message, values = bench.report()
    assert (level, message) == (DiagnosticStatus.WARN, "1 detections make no sense")
    assert values["detections.rejected"] == "1"
    assert values["detections.without_covariance"] == "1"


def test_stamps_that_go_back_are_counted(bench):
    bench.start()
    for k in range(5):
        bench.send("front", 10 + k / 10, (1.0, 20.0))
    bench.send("left", 10.3, (1.0, 20.0), frame="front")
    bench.send("front", 9.5, (1.0, 20.0))
    _, message, values = bench.report()
    assert values["out_of_order"] == "1"
    assert values["dropped.late"] == "1"
    assert "0.90 s older than the newest ones" in message


def test_a_thousand_detections_in_one_message(bench):
    bench.start()
    places = [(5.0 * (k % 40), 20 + 8.0 * (k // 40)) for k in range(1000)]
    for k in range(2):
        bench.send("front", 10 + k / 10, *places)
    assert len(bench.newest("tracks", 10.1).detections) == 1000


def test_silence_is_reported(bench):
    bench.start()
    assert bench.report()[0] == DiagnosticStatus.OK
    bench.clock.now += 3.0
    assert bench.report()[:2] == (
        DiagnosticStatus.WARN,
        "no detections on /front/detections for 3 s",
    )
    bench.send("front", 10.0, (1.0, 20.0))
    bench.clock.now += 3.0
    assert bench.report()[:2] == (DiagnosticStatus.ERROR, "detections stopped: none for 3 s")


def test_lifecycle(bench):
    node = bench.create(autostart=False)
    assert node.autostart()
    assert node.world is None
    client = bench.peer.create_client(ChangeState, "/km3d_tracker/change_state")
    bench.wait(client.service_is_ready)
    for transition in (
        Transition.TRANSITION_CONFIGURE,
        Transition.TRANSITION_ACTIVATE,
        Transition.TRANSITION_DEACTIVATE,
        Transition.TRANSITION_ACTIVATE,
        Transition.TRANSITION_DEACTIVATE,
        Transition.TRANSITION_CLEANUP,
    ):
        future = client.call_async(ChangeState.Request(transition=Transition(id=transition)))
        bench.wait(future.done)
        assert future.result().success
    assert node.world is None
    assert node.count_subscribers("/front/detections") == 0


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"inputs": ["a", "a"]}, "inputs is ['a', 'a'], expected different topics"),
        ({"mounts": ["front 1 2 3 0 0 0"]}, "mounts are given, expected base_frame, too"),
        ({"mounts": ["front 1"], "base_frame": "base_link"}, "frame x y z roll pitch yaw"),
    ],
)
def test_parameters_that_make_no_sense(bench, values, reason):
    node = bench.create(**values)
    assert not node.autostart()
    assert reason in node._failure
    assert node.world is None


def test_fixed_parameters_do_not_change_while_configured(bench):
    node = bench.start()
    (result,) = node.set_parameters([Parameter("base_frame", value="base_link")])
    assert not result.successful
    assert "clean up the node first" in result.reason
    (result,) = node.set_parameters([Parameter("existence", value=0.9)])
    assert result.successful


def test_existence_decides_what_is_published(bench):
    node = bench.start()
    node.set_parameters([Parameter("existence", value=0.99)])
    bench.send("front", 10.0, (1.0, 20.0))
    assert not bench.newest("tracks", 10.0).detections


def test_simulated_time_that_jumps_back_restarts_tracking(bench):
    node = bench.start(use_sim_time=True)
    clock = bench.peer.create_publisher(Clock, "/clock", 10)
    bench.wait(lambda: clock.get_subscription_count() == 1)

    def tick(seconds: int) -> None:
        message = Clock()
        message.clock.sec = seconds
        clock.publish(message)
        bench.wait(lambda: node.get_clock().now().nanoseconds == seconds * 10**9)

    tick(10)
    before = node.world.restarts["time_jump"]
    bench.send("front", 10.0, (1.0, 20.0))
    assert len(node.world.tracker.objects()) == 1
    tick(3)
    assert node.world.restarts["time_jump"] == before + 1
    assert len(node.world.tracker.objects()) == 0


def test_mounts_from_static_transforms(bench):
    node = bench.start()
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = bench.peer.create_publisher(TFMessage, "/tf_static", qos)
    transform = TransformStamped(child_frame_id="front")
    transform.header.frame_id = "base_link"
    transform.transform.translation.x = 1.0
    turn = transform.transform.rotation
    turn.x, turn.y, turn.z, turn.w = -0.5, 0.5, -0.5, 0.5
    publisher.publish(TFMessage(transforms=[transform]))
    bench.wait(lambda: "front" in node.world.transforms._links)
    bench.drive(10.0)
    bench.send("front", 10.0, (1.0, 20.0))
    track = bench.newest("tracks", 10.0).detections[0]
    assert track.bbox.center.position.x == pytest.approx(21.0, abs=0.01)
    assert track.bbox.center.position.y == pytest.approx(-1.0, abs=0.01)
