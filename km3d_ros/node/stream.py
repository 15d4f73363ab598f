"""From the subscriptions to the publishers, while the node is active (design, section 8)."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence

from rclpy.lifecycle import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from km3d_ros.node import parameters
from km3d_ros.node.diagnostics import Health, HealthMonitor
from km3d_ros.node.messages import frame_timing
from km3d_ros.node.outputs import Outputs
from km3d_ros.node.pairing import Frame, Pairer
from km3d_ros.node.processing import Answer, FrameProcessor
from km3d_ros.node.statistics import DropCause, DroppedFrame, FrameStatistics
from km3d_ros.node.worker import NewestWorker

INFO_PATIENCE = 0.5
"""Seconds that an image waits for its CameraInfo when no further message arrives."""

LOG_PERIOD = 5.0


class Stream:
    """Subscribes, and answers the newest pair of image and CameraInfo until it is stopped.

    Callbacks only store what arrives; one worker thread detects and publishes. Every received
    frame is answered or counted as dropped, by cause.

    enabled: False drops every image on arrival.
    """

    def __init__(
        self,
        node: Node,
        processor: FrameProcessor,
        outputs: Outputs,
        statistics: FrameStatistics,
        clock: Callable[[], float],
        enabled: bool,
    ) -> None:
        """Start; `clock` gives seconds on a steady clock.

        Raises:
            RuntimeError: a `qos_overrides` parameter has a value that is no QoS policy.
        """
        self.enabled = enabled
        self._node = node
        self._processor = processor
        self._outputs = outputs
        self._statistics = statistics
        self._now = clock
        self._pairer = Pairer()
        self._worker = NewestWorker(self._work)
        self._inputs: list[Subscription] = []
        try:
            self._subscribe_images()
            self._subscribe(CameraInfo, "camera_info", self._on_info, depth=10)
        except Exception:
            self.stop()
            raise
        image_topic, info_topic = (subscription.topic_name for subscription in self._inputs)
        self._monitor = HealthMonitor(image_topic, info_topic, clock(), statistics.totals())

    def stop(self) -> None:
        """Unsubscribe and finish the frame in work; those that still wait count as paused."""
        for subscription in self._inputs:
            self._node.destroy_subscription(subscription)
        waiting = [*self._pairer.flush(), self._worker.stop()]
        for _ in filter(None, waiting):
            self._statistics.dropped(DropCause.PAUSED)

    def check(self) -> tuple[Health, dict[str, float]]:
        """The health since the last check, and the rates in Hz; lets no image wait forever."""
        now = self._now()
        self._offer(self._pairer.flush(received_before=now - INFO_PATIENCE))
        return self._monitor.check(now, self._statistics.totals())

    def _subscribe_images(self) -> None:
        if self._node.get_parameter("image_transport").value == "raw":
            self._subscribe(Image, "image", self._on_image, depth=1)
            return
        # As image_transport does it: below the name that `image` is remapped to.
        topic = f"{self._node.resolve_topic_name('image')}/compressed"
        self._subscribe(CompressedImage, topic, self._on_image, depth=1)

    def _subscribe(self, message_type: type, topic: str, callback: Callable, depth: int) -> None:
        """Best effort: whatever a camera driver offers is compatible with it."""
        subscription = self._node.create_subscription(
            message_type,
            topic,
            callback,
            QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._inputs.append(subscription)

    def _on_image(self, image: Image | CompressedImage) -> None:
        now = self._now()
        self._statistics.image_received(now)
        if not self.enabled:
            self._statistics.dropped(DropCause.PAUSED)
            return
        self._offer(self._pairer.add_image(image, now))

    def _on_info(self, info: CameraInfo) -> None:
        self._statistics.info_received()
        self._offer(self._pairer.add_info(info))

    def _offer(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            if frame.info is None:
                frame_id = frame.image.header.frame_id
                reason = f"no CameraInfo with the image's frame_id {frame_id!r}"
                self._statistics.dropped(DropCause.NO_CAMERA_INFO, reason)
            elif self._worker.offer(frame) is not None:
                self._statistics.dropped(DropCause.OVERTAKEN)

    def _work(self, frame: Frame) -> None:
        """Answer a frame or count why not; runs in the worker's thread."""
        started = self._now()
        try:
            settings = parameters.read(self._node, parameters.LiveSettings)
            answer = self._processor(frame, settings)
            self._publish(answer, settings.marker_lifetime, started)
        except DroppedFrame as dropped:
            self._statistics.dropped(dropped.cause, str(dropped))
        # Whatever happens to one frame, the next one gets its chance.
        except Exception as error:
            self._statistics.dropped(DropCause.FAILED, f"{type(error).__name__}: {error}")
            if self._node.context.ok():
                trace = traceback.format_exc()
                self._node.get_logger().error(trace, throttle_duration_sec=LOG_PERIOD)

    def _publish(self, answer: Answer, marker_lifetime: float, started: float) -> None:
        detected = self._now()
        self._outputs.publish(answer, self._processor.class_names, marker_lifetime)
        finished = self._now()
        frame = answer.frame
        total = finished - frame.received
        self._statistics.answered(total, frame.exact)
        timing = frame_timing(
            frame.image.header,
            answer.stages,
            wait=started - frame.received,
            publish=finished - detected,
            total=total,
            drops=self._statistics.take_drops(),
        )
        self._outputs.publish_timing(timing)
