"""The lifecycle node `km3d_tracker`: subscribes to 3D detections, publishes tracked objects."""

from __future__ import annotations

import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.lifecycle import Node, Publisher, State, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from vision_msgs.msg import Detection3D, Detection3DArray
from visualization_msgs.msg import MarkerArray

from km3d_ros.errors import InputError
from km3d_ros.msg import TrackedObject, TrackedObjectArray
from km3d_ros.node import diagnostics, parameters, running
from km3d_ros.node.compatibility import refuse_impossible_transitions
from km3d_ros.node.diagnostics import Health
from km3d_ros.node.log import Backoff
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

REPORT_PERIOD = 1.0
"""Seconds between two diagnostics messages."""
LOG_PERIOD = 5.0
"""Seconds between two log messages about the same problem."""
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


class TrackerNode(Node):
    """Tracks while it is active. It publishes diagnostics in every state.

    statistics: counts by input topic.
    world: the tracks and what is known about frames; None while unconfigured.
    """

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
        self._now = clock
        self.world: World | None = None
        self.statistics: dict[str, InputStatistics] = {}
        self._idle_state, self._failure = "unconfigured", ""
        self._inputs: list[Subscription] = []
        self._others: list[Subscription] = []
        self._outputs: dict[type, Publisher] = {}
        super().__init__(name, **kwargs)
        refuse_impossible_transitions(self)
        self.add_on_set_parameters_callback(self._check_change)
        parameters.declare(self, PARAMETERS)
        for problem in parameters.unknown(self, PARAMETERS, "km3d_tracker"):
            self.get_logger().warning(problem)
        self._peers = IncompatiblePeers(self)
        self._trails = Trails()
        self._track_pool: list[Detection3D] = []
        self._object_pool: list[TrackedObject] = []
        self._seconds: deque[float] = deque(maxlen=LATENCIES)
        self._before: Counter[str] = Counter()
        self._backoffs: dict[str, Backoff] = {}
        self._odometry_seen: float | None = None
        self._bad_odometry = 0
        self._announced = ""
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # A steady clock: diagnostics continue while simulated time is paused.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(REPORT_PERIOD, self.report, clock=steady)
        self._jumps = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1)),
            post_callback=self._on_time_jump,
        )

    def autostart(self) -> bool:
        """Configure and activate, unless the parameter `autostart` is false.

        Returns:
            False if a transition failed; the log gives the reason.
        """
        if not parameters.read(self, FixedSettings).autostart:
            return True
        steps = (self.trigger_configure, self.trigger_activate)
        return all(step() == TransitionCallbackReturn.SUCCESS for step in steps)

    def on_configure(self, state: State) -> TransitionCallbackReturn:
        """Read the parameters and create the publishers. On failure nothing is left."""
        try:
            self._configure(parameters.read(self, FixedSettings))
        # Every exception: rclpy would discard it without a message.
        except Exception as error:
            self._release()
            return self._fail(f"cannot configure: {error}")
        self._set_idle_state("inactive")
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: State) -> TransitionCallbackReturn:
        """Subscribe to the inputs and enable the publishers."""
        try:
            for topic in parameters.read(self, FixedSettings).inputs:
                self._subscribe_input(topic)
        except Exception as error:
            self._unsubscribe_inputs()
            return self._fail(f"cannot activate: {error}")
        self._set_idle_state("inactive")
        self._started = self._now()
        return super().on_activate(state)

    def on_deactivate(self, state: State) -> TransitionCallbackReturn:
        """Unsubscribe from the inputs, forget the tracks and disable the publishers."""
        self._unsubscribe_inputs()
        self.world.restart()
        return super().on_deactivate(state)

    def on_cleanup(self, state: State) -> TransitionCallbackReturn:
        """Destroy subscriptions and publishers."""
        self._release()
        self._set_idle_state("unconfigured")
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: State) -> TransitionCallbackReturn:
        """Stop and release everything, from any state."""
        self._release()
        self._set_idle_state("finalized")
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: State) -> TransitionCallbackReturn:
        """Clean up after a transition that raised; the node becomes unconfigured."""
        return self.on_cleanup(state)

    def report(self) -> None:
        """Publish the diagnostics of every input; log warnings and errors."""
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        hardware = self.get_fully_qualified_name()
        topics = [subscription.topic_name for subscription in self._inputs]
        for topic in topics or ["tracker"]:
            health, values = self._health(topic)
            name = f"{hardware[1:]}: {topic}"
            message.status.append(diagnostics.status(name, hardware, health, values))
            self._log_health(topic, health)
        self._diagnostics.publish(message)

    # Set up.

    def _configure(self, settings: FixedSettings) -> None:
        topics = settings.inputs
        if not topics or "" in topics or len(set(topics)) < len(topics):
            raise InputError(f"inputs is {list(topics)}, expected different topics")
        self.world = World(settings.base_frame)
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

    def _unsubscribe_inputs(self) -> None:
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs = []

    def _release(self) -> None:
        self._unsubscribe_inputs()
        for subscription in self._others:
            self.destroy_subscription(subscription)
        for publisher in self._outputs.values():
            self.destroy_lifecycle_publisher(publisher)
        self._others, self._outputs, self.world = [], {}, None
        self._odometry_seen, self._announced = None, ""

    def _set_idle_state(self, state: str) -> None:
        """Set the lifecycle state that diagnostics report while the node is not active."""
        self._idle_state, self._failure = state, ""

    def _fail(self, reason: str) -> TransitionCallbackReturn:
        """Log the failure of a transition and report it in the diagnostics.

        Raises:
            KeyboardInterrupt: a signal shut down the context, which is why the transition failed.
        """
        if not self.context.ok():
            raise KeyboardInterrupt
        self._failure = reason
        self.get_logger().error(reason)
        return TransitionCallbackReturn.FAILURE

    def _check_change(self, changed: Sequence[Parameter]) -> SetParametersResult:
        """Reject changes that the lifecycle state does not allow."""
        fixed = parameters.changes_fixed(changed, PARAMETERS)
        if self.world is None or not fixed:
            return SetParametersResult(successful=True)
        reason = f"{', '.join(fixed)}: clean up the node first, only then it can change"
        return SetParametersResult(successful=False, reason=reason)

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

    def _health(self, topic: str) -> tuple[Health, dict[str, object]]:
        if self._failure:
            return Health(diagnostics.ERROR, self._failure), {}
        if not self._inputs:
            return Health(diagnostics.OK, self._idle_state), {}
        statistics, now = self.statistics[topic], self._now()
        health = self._input_health(topic, statistics, now)
        conflicts = self._peers.describe()
        if conflicts and health.level == diagnostics.OK:
            health = Health(diagnostics.WARN, conflicts)
        for name, number in self._totals(topic, statistics).items():
            self._before[name] = number
        return health, self._values(statistics)

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

    def _values(self, statistics: InputStatistics) -> dict[str, object]:
        world = self.world
        counts = world.tracker.counts
        values: dict[str, object] = {
            "received": statistics.received,
            "answered": statistics.answered,
        }
        values |= {f"dropped.{cause.value}": statistics.dropped[cause] for cause in LeftOut}
        values |= {
            "frame": world.frame,
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

    def _log_health(self, topic: str, health: Health) -> None:
        backoff = self._backoffs.setdefault(topic, Backoff())
        if health.level == diagnostics.OK:
            self._backoffs[topic] = Backoff()
        elif backoff.is_due(health.message, self._now()):
            text = f"{topic}: {health.message}"
            # A call site of rclpy keeps its severity.
            if health.level == diagnostics.ERROR:
                self.get_logger().error(text)
            else:
                self.get_logger().warning(text)


def run() -> int:
    """Run the node until a signal or an error stops it; returns the exit code."""
    return running.run(TrackerNode, "km3d_tracker")
