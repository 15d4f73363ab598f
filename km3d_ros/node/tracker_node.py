"""The lifecycle node `km3d_tracker`: subscribes to 3D detections, publishes tracked objects."""

from __future__ import annotations

import time
import traceback
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.clock import TimeJump
from rclpy.lifecycle import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from vision_msgs.msg import Detection3D, Detection3DArray
from visualization_msgs.msg import MarkerArray

from km3d_ros.errors import InputError
from km3d_ros.msg import TrackedObject, TrackedObjectArray
from km3d_ros.node import diagnostics, parameters, running
from km3d_ros.node.diagnostics import Health
from km3d_ros.node.lifecycle import ManagedNode
from km3d_ros.node.log import LOG_PERIOD
from km3d_ros.node.middleware import (
    OVERRIDABLE,
    IncompatiblePeers,
    make_latched_reliable,
    other_types,
)
from km3d_ros.node.static_transforms import subscribe_to_static_transforms
from km3d_ros.node.track_messages import (
    Snapshot,
    Trails,
    object_array,
    track_array,
    track_markers,
)
from km3d_ros.node.tracker_parameters import PARAMETERS, FixedSettings, LiveSettings
from km3d_ros.tracking.poses import parse_mount
from km3d_ros.tracking.reading import read_boxes, read_pose, seconds
from km3d_ros.tracking.world import DroppedDetections, LeftOut, World

PATIENCE = 2.0
"""Seconds without messages after which an input or the odometry is reported as silent."""
LATENCIES = 600
"""Number of processing times that are kept."""


class InputStatistics:
    """Counts of one input topic since the node was created.

    received: messages; received = answered + sum(dropped).
    last: when the last one arrived, on the steady clock; None before.
    """

    def __init__(self) -> None:
        self.received = self.answered = 0
        self.dropped: Counter[LeftOut] = Counter()
        self.last: float | None = None
        self.last_error = ""


class TrackerNode(ManagedNode):
    """Tracks while it is active. It publishes diagnostics in every state.

    statistics: counts by input topic.
    world: the tracks and what is known about frames; None while unconfigured.
    """

    whole = "tracker"

    def __init__(
        self, name: str = "km3d_tracker", *, clock: Callable[[], float] = time.monotonic, **kwargs
    ) -> None:
        """Declare the parameters. Subscribing follows in the lifecycle transitions.

        Args:
            name: name of the node.
            clock: seconds on a steady clock, for durations only.
            kwargs: arguments of rclpy.node.Node.

        Raises:
            rclpy.exceptions.InvalidParameterValueException: a parameter breaks its rule.
            rclpy.exceptions.InvalidParameterTypeException: a parameter has another type.
        """
        self.world: World | None = None
        self.statistics: dict[str, InputStatistics] = {}
        self._inputs: list[Subscription] = []
        self._others: list[Subscription] = []
        self._outputs: dict[type, Publisher] = {}
        self._trails = Trails()
        self._track_pool: list[Detection3D] = []
        self._object_pool: list[TrackedObject] = []
        self._seconds: deque[float] = deque(maxlen=LATENCIES)
        self._before: Counter[str] = Counter()
        self._odometry_seen: float | None = None
        self._bad_odometry = 0
        self._announced = ""
        super().__init__(name, PARAMETERS, "km3d_tracker", clock, **kwargs)
        self._peers = IncompatiblePeers(self)

    # Set up.

    @property
    def _is_configured(self) -> bool:
        return self.world is not None

    def _configure(self) -> None:
        """Create the publishers, and subscribe to odometry and static transforms."""
        settings = parameters.read(self, FixedSettings)
        topics = settings.inputs
        if not topics or "" in topics or len(set(topics)) < len(topics):
            raise InputError(f"inputs is {list(topics)}, expected different topics")
        self.world = World(settings.base_frame, settings.ground_frame)
        mounts = [parse_mount(text) for text in settings.mounts if text]
        base = settings.base_frame
        if mounts and not base:
            raise InputError("mounts are given, expected base_frame, too")
        for frame, pose in mounts:
            self.world.transforms = self.world.transforms.with_pose(base, frame, pose)
        for message_type, name in (
            (Detection3DArray, "tracks"),
            (TrackedObjectArray, "objects"),
            (MarkerArray, "markers"),
        ):
            self._outputs[message_type] = self.create_lifecycle_publisher(
                message_type,
                f"~/{name}",
                QoSProfile(depth=10),
                event_callbacks=self._peers.publisher_callbacks(f"~/{name}"),
                qos_overriding_options=QoSOverridingOptions(OVERRIDABLE),
            )
        self._others = [self._subscribe(Odometry, "odometry", self._take_odometry, depth=50)]
        try:
            self._others.append(subscribe_to_static_transforms(self, self._take_transforms))
        except InputError:  # tf2_msgs is not installed
            self.get_logger().info("without tf2_msgs, only the parameter mounts counts")

    def _activate(self) -> None:
        """Subscribe to the inputs."""
        for topic in parameters.read(self, FixedSettings).inputs:
            self._subscribe_input(topic)
        self._started = self._now()

    def _deactivate(self) -> None:
        """Unsubscribe from the inputs, and forget the tracks."""
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs = []
        if self.world is not None:
            self.world.restart()

    def _subscribe_input(self, topic: str) -> None:
        name = self.resolve_topic_name(topic)
        self.statistics.setdefault(name, InputStatistics())
        callback = partial(self._take_detections, name)
        self._inputs.append(self._subscribe(Detection3DArray, topic, callback, depth=10))

    def _subscribe(
        self, message_type: type, topic: str, callback: Callable[[Any], None], depth: int
    ) -> Subscription:
        """Best effort QoS is compatible with every publisher; `qos_overrides` can change it."""
        return self.create_subscription(
            message_type,
            topic,
            callback,
            QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT),
            event_callbacks=self._peers.subscription_callbacks(topic),
            qos_overriding_options=QoSOverridingOptions(
                OVERRIDABLE, callback=make_latched_reliable
            ),
        )

    def _release(self) -> None:
        """Destroy subscriptions and publishers."""
        for subscription in self._others:
            self.destroy_subscription(subscription)
        for publisher in self._outputs.values():
            self.destroy_lifecycle_publisher(publisher)
        self._others, self._outputs, self.world = [], {}, None
        self._odometry_seen, self._announced = None, ""

    # Messages.

    def _take_odometry(self, message: Odometry) -> None:
        if self.world is None:  # the executor may keep a destroyed subscription for a while
            return
        self._odometry_seen = self._now()
        try:
            pose = read_pose(message.pose.pose)
        except InputError:
            self._bad_odometry += 1
            return
        frame, child = message.header.frame_id, message.child_frame_id
        self.world.take_odometry(frame, child, seconds(message.header.stamp), pose)

    def _take_transforms(self, message: Any) -> None:
        if self.world is not None:
            self.world.transforms = self.world.transforms.with_those_of(message)

    def _take_detections(self, topic: str, message: Detection3DArray) -> None:
        if not self._inputs:
            return
        start, statistics = self._now(), self.statistics[topic]
        statistics.received += 1
        statistics.last = start
        try:
            header = message.header
            self.world.take(topic, header.frame_id, seconds(header.stamp), read_boxes(message))
            self._publish(message)
        except DroppedDetections as dropped:
            self._drop(statistics, dropped.cause, str(dropped))
        except Exception as error:
            if not self.context.ok():  # a signal came meanwhile
                return
            trace = "".join(traceback.format_exception(error))
            self.get_logger().error(trace, throttle_duration_sec=LOG_PERIOD)
            self._drop(statistics, LeftOut.BAD_MESSAGE, f"{type(error).__name__}: {error}")
        else:
            statistics.answered += 1
            self._seconds.append(self._now() - start)

    def _drop(self, statistics: InputStatistics, cause: LeftOut, reason: str) -> None:
        statistics.dropped[cause] += 1
        statistics.last_error = reason

    def _publish(self, message: Detection3DArray) -> None:
        settings = parameters.read(self, LiveSettings)
        snapshot = Snapshot.of(self.world, message.header, settings.existence)
        self._outputs[Detection3DArray].publish(track_array(snapshot, self._track_pool))
        if self._outputs[TrackedObjectArray].get_subscription_count():
            self._outputs[TrackedObjectArray].publish(object_array(snapshot, self._object_pool))
        if self._outputs[MarkerArray].get_subscription_count():
            self._trails.add(snapshot)
            markers = track_markers(snapshot, self._trails, settings.marker_lifetime)
            self._outputs[MarkerArray].publish(markers)
        self._announce()

    def _announce(self) -> None:
        """Log in which frame objects are tracked, once per frame."""
        if self.world.moves:
            text = f"tracking in {self.world.frame}, the frame of the odometry"
        else:
            text = (
                f"no odometry on {self._others[0].topic_name}: tracking in {self.world.frame}, "
                "velocities are relative to the vehicle"
            )
        if text != self._announced:
            self._announced = text
            log = self.get_logger().info if self.world.moves else self.get_logger().warning
            log(text)

    def _on_time_jump(self, jump: TimeJump) -> None:
        if self.world is not None:
            self.get_logger().warning("time jumped back, or its source changed: tracking restarts")
            self.world.restart("time_jump")
            self.world.odometry.restart()

    # Health.

    def _parts(self) -> list[str]:
        return [subscription.topic_name for subscription in self._inputs] or [""]

    def _health(self, topic: str) -> tuple[Health, dict[str, object]]:
        if self._failure or not self._inputs:
            return self._idle_health(), {}
        statistics, now = self.statistics[topic], self._now()
        health = self._input_health(topic, statistics, now)
        conflicts = self._peers.describe()
        if conflicts and health.level == diagnostics.OK:
            health = Health(diagnostics.WARN, conflicts)
        for name, number in self._totals(topic, statistics).items():
            self._before[name] = number
        return health, self._values(topic, statistics)

    def _input_health(self, topic: str, statistics: InputStatistics, now: float) -> Health:
        found = other_types(self, topic, "vision_msgs/msg/Detection3DArray")
        if found:
            return Health(
                diagnostics.ERROR,
                f"{topic} has messages of type {found}, expected vision_msgs/msg/Detection3DArray",
            )
        if statistics.last is None or statistics.last < self._started:
            silent = now - self._started
            level = diagnostics.OK if silent < PATIENCE else diagnostics.WARN
            return Health(level, f"no detections on {topic} for {silent:.0f} s")
        silent = now - statistics.last
        if silent >= PATIENCE:
            return Health(diagnostics.ERROR, f"detections stopped: none for {silent:.0f} s")
        new = {
            name.partition(" ")[2]: number - self._before[name]
            for name, number in self._totals(topic, statistics).items()
        }
        if new["dropped"]:
            level = diagnostics.WARN if new["answered"] else diagnostics.ERROR
            return Health(
                level,
                f"{new['dropped']} messages dropped, the last one: {statistics.last_error}",
            )
        if new["jumps"]:
            return Health(diagnostics.WARN, "odometry jumped: tracking restarted")
        if new["bad_odometry"]:
            return Health(
                diagnostics.WARN, f"{new['bad_odometry']} poses of the odometry unusable"
            )
        if self.world.moves and now - self._odometry_seen >= PATIENCE:
            return Health(diagnostics.ERROR, "odometry stopped")
        if new["rejected"]:
            return Health(diagnostics.WARN, f"{new['rejected']} detections make no sense")
        if not self.world.moves:
            return Health(
                diagnostics.WARN,
                f"no odometry on {self._others[0].topic_name}: velocities are relative to the "
                "vehicle",
            )
        return Health(diagnostics.OK, f"{new['answered']} messages used since the last report")

    def _totals(self, topic: str, statistics: InputStatistics) -> dict[str, int]:
        """Counts since the node was created, by topic and name."""
        totals = {
            "answered": statistics.answered,
            "dropped": sum(statistics.dropped.values()),
            "jumps": self.world.odometry.jumps,
            "bad_odometry": self._bad_odometry,
            "rejected": self.world.faults["rejected"],
        }
        return {f"{topic} {name}": number for name, number in totals.items()}

    def _values(self, topic: str, statistics: InputStatistics) -> dict[str, object]:
        world = self.world
        counts = world.tracker.counts
        values: dict[str, object] = {
            "received": statistics.received,
            "answered": statistics.answered,
        }
        values |= {f"dropped.{cause.value}": statistics.dropped[cause] for cause in LeftOut}
        values |= {
            "frame": world.frame,
            "ground": world.ground_sources.get(topic, ""),
            "tracks": len(world.tracker.objects(parameters.read(self, LiveSettings).existence)),
            "detections.rejected": world.faults["rejected"],
            "detections.without_covariance": world.faults["without_covariance"],
            "detections.duplicates": counts.duplicates,
            "out_of_order": counts.out_of_order,
            "restarts": counts.restarts + sum(world.restarts.values()),
            "odometry.poses": len(world.odometry),
            "odometry.unusable": self._bad_odometry,
            "odometry.jumps": world.odometry.jumps,
        }
        if self._seconds:
            for percent in (50, 95, 99):
                value = 1e3 * np.percentile(self._seconds, percent)
                values[f"processing_ms.p{percent}"] = round(float(value), 2)
        values["last_error"] = statistics.last_error
        return values


def run() -> int:
    """Run the node until a signal or an error stops it; returns the exit code."""
    return running.run(TrackerNode, "km3d_tracker")
