"""One camera: from its subscriptions to its publishers, while the node is active (design, 8)."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from km3d_ros.frames.pairing import Frame, Pairer
from km3d_ros.frames.statistics import DropCause, DroppedFrame, FrameStatistics
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.node.diagnostics import Health, HealthMonitor
from km3d_ros.node.messages import frame_timing
from km3d_ros.node.middleware import Gaps
from km3d_ros.node.outputs import Outputs
from km3d_ros.node.parameters import FixedSettings, LiveSettings
from km3d_ros.node.processing import Answer, View, ViewReader

INFO_PATIENCE = 0.5
"""Seconds that an image waits for its CameraInfo when no further message arrives."""

LOG_PERIOD = 5.0


class Stream:
    """Subscribes to a camera and hands on its frames; publishes the answers.

    Every received frame is handed on, or counted as dropped by cause; whoever takes it answers it
    or counts it.

    enabled: False drops every image on arrival; one that waits already is still answered.
    """

    def __init__(
        self,
        node: Node,
        camera: str,
        settings: FixedSettings,
        outputs: Outputs,
        statistics: FrameStatistics,
        clock: Callable[[], float],
        offer: Callable[[Frame], Frame | None],
    ) -> None:
        """Subscribe.

        Args:
            node: it has the subscriptions.
            camera: its name, which the topics begin with; empty for the only one.
            settings: whether images are rectified, and how they are transported.
            outputs: publishers of this camera.
            statistics: of this camera.
            clock: seconds on a steady clock.
            offer: takes a frame and returns the one that it overtakes, if any.

        Raises:
            RuntimeError: a `qos_overrides` parameter has a value that is no QoS policy.
        """
        self.enabled = True
        self._node = node
        self._outputs = outputs
        self._statistics = statistics
        self._now = clock
        self._hand_on = offer
        self._pairer = Pairer()
        self._gaps = Gaps()
        self._read = ViewReader(settings.rectified, self._log_calibration, self._log_bit_depth)
        self._inputs: list[Subscription] = []
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._patience = node.create_timer(INFO_PATIENCE, self._stop_waiting, clock=steady)
        prefix = f"{camera}/" if camera else ""
        try:
            self._subscribe_images(f"{prefix}image", settings.image_transport)
            self._subscribe(CameraInfo, f"{prefix}camera_info", self._on_info, depth=10)
        except Exception:
            self.stop()
            raise
        self._image_topic, info_topic = (item.topic_name for item in self._inputs)
        self._monitor = HealthMonitor(self._image_topic, info_topic, clock(), statistics.totals())

    def stop(self) -> None:
        """Unsubscribe; an image that waits for its CameraInfo counts as paused."""
        for subscription in self._inputs:
            self._node.destroy_subscription(subscription)
        self._node.destroy_timer(self._patience)
        for _ in self._pairer.flush():
            self._statistics.dropped(DropCause.PAUSED)

    def reset(self) -> None:
        """Forget what came before time jumped."""
        self._offer(self._pairer.flush())
        self._pairer = Pairer()

    def check(self) -> tuple[Health, dict[str, float]]:
        """The health since the last check, and the rates in Hz."""
        self._stop_waiting()
        announced = self._node.count_publishers(self._image_topic) > 0
        conflicts = self._outputs.conflicts.describe()
        return self._monitor.check(self._now(), self._statistics.totals(), announced, conflicts)

    def read(self, frame: Frame) -> View:
        """Understand a frame that was handed on.

        Raises:
            DroppedFrame: the image or its CameraInfo is unusable.
        """
        return self._read(frame)

    def publish(
        self, answer: Answer, class_names: Sequence[str], settings: LiveSettings, started: float
    ) -> None:
        """Publish an answer and count it; `started` is when the work on it began."""
        frame = answer.view.frame
        detected = self._now()
        self._outputs.publish(answer, class_names)
        self._statistics.answered(self._now() - frame.received, frame.exact)
        try:
            self._outputs.publish_details(answer, class_names, settings.marker_lifetime)
            finished = self._now()
            timing = frame_timing(
                frame.image.header,
                answer.stages,
                wait=started - frame.received,
                publish=finished - detected,
                total=finished - frame.received,
                drops=self._statistics.take_drops(),
            )
            self._outputs.publish_timing(timing)
        # The frame is answered; that somebody cannot watch it is told, but it is no drop.
        except Exception as error:
            self._statistics.undrawn(self._told(error))

    def draw(self, answer: Answer, class_names: Sequence[str]) -> None:
        """Publish pictures of an answer for those who watch."""
        try:
            self._outputs.draw(answer, class_names)
        except Exception as error:
            self._statistics.undrawn(self._told(error))

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Whatever ends the work on a frame is counted, and the next one gets its chance."""
        try:
            yield
        except DroppedFrame as dropped:
            self._statistics.dropped(dropped.cause, str(dropped))
        except Exception as error:
            self.failed(error)

    def failed(self, error: Exception) -> None:
        """Count a frame that broke the program."""
        self._statistics.dropped(DropCause.FAILED, self._told(error))

    def paused(self) -> None:
        """Count a frame that waited for the worker when everything stopped."""
        self._statistics.dropped(DropCause.PAUSED)

    def _told(self, error: Exception) -> str:
        if self._node.context.ok():
            trace = "".join(traceback.format_exception(error))
            self._node.get_logger().error(trace, throttle_duration_sec=LOG_PERIOD)
        return f"{type(error).__name__}: {error}"

    def _subscribe_images(self, topic: str, transport: str) -> None:
        message_type: type = Image
        if transport == "compressed":
            # As image_transport does it: below the name that `image` is remapped to.
            topic = f"{self._node.resolve_topic_name(topic)}/compressed"
            message_type = CompressedImage
        self._subscribe(message_type, topic, self._on_image, depth=1, on_lost=self._on_lost)

    def _subscribe(
        self,
        message_type: type,
        topic: str,
        callback: Callable,
        depth: int,
        on_lost: Callable | None = None,
    ) -> None:
        """Best effort: whatever a camera driver offers is compatible with it."""
        subscription = self._node.create_subscription(
            message_type,
            topic,
            callback,
            QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT),
            event_callbacks=self._outputs.conflicts.of_subscription(topic, on_lost),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._inputs.append(subscription)

    def _on_image(self, image: Image | CompressedImage, info: dict[str, Any]) -> None:
        now = self._now()
        self._statistics.image_received(now, missed=self._gaps.before(info))
        if not self.enabled:
            self._statistics.dropped(DropCause.PAUSED)
            return
        self._offer(self._pairer.add_image(image, now))
        self._patience.reset()

    def _on_lost(self, event: Any) -> None:
        self._statistics.lost(event.total_count_change)

    def _on_info(self, info: CameraInfo) -> None:
        self._statistics.info_received()
        self._offer(self._pairer.add_info(info))

    def _stop_waiting(self) -> None:
        """Let no image wait forever."""
        self._offer(self._pairer.flush(received_before=self._now() - INFO_PATIENCE))

    def _offer(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            if frame.info is None:
                frame_id = frame.image.header.frame_id
                reason = f"no CameraInfo with the image's frame_id {frame_id!r}"
                self._statistics.dropped(DropCause.NO_CAMERA_INFO, reason)
            elif self._hand_on(frame) is not None:
                self._statistics.dropped(DropCause.OVERTAKEN)

    def _log_bit_depth(self, bits: int) -> None:
        self._node.get_logger().info(
            f"{self._image_topic}: 16-bit values use {bits} bits, of which the upper 8 are taken"
        )

    def _log_calibration(self, camera: CameraModel) -> None:
        lens = camera.distortion_model or "no distortion"
        self._node.get_logger().info(
            f"calibration of {self._image_topic}: {camera.width}x{camera.height} pixels, "
            f"fx {camera.fx:.1f}, fy {camera.fy:.1f}, cx {camera.cx:.1f}, cy {camera.cy:.1f}, "
            f"{lens}"
        )
