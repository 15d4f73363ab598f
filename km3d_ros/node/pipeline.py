"""The path of a frame through the active node, from top to bottom.

1. Take: the executor's thread takes images and CameraInfo messages, pairs them and offers the
   frames to the worker.
2. Work: the worker's thread reads the newest frames, detects the objects and publishes them.
3. Draw: another thread publishes pictures of the newest results. No frame waits for a picture.

Every image that arrives is counted as answered or as dropped, exactly once.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from km3d_ros.errors import InputError
from km3d_ros.frames.drops import DropCause, DroppedFrame
from km3d_ros.frames.mounting import Mount, Mounting
from km3d_ros.frames.pairing import Frame, Pairer
from km3d_ros.frames.reading import View, ViewReader
from km3d_ros.frames.statistics import FrameStatistics
from km3d_ros.frames.topic_names import is_rectified
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.detections import Detections
from km3d_ros.inference.detector import Detector, StageSeconds
from km3d_ros.msg import FrameTiming
from km3d_ros.node import parameters
from km3d_ros.node.compatibility import with_message_info
from km3d_ros.node.diagnostics import Health, HealthMonitor
from km3d_ros.node.log import LOG_PERIOD
from km3d_ros.node.middleware import OVERRIDABLE, SequenceGaps, make_latched_reliable, other_types
from km3d_ros.node.outputs import Outputs
from km3d_ros.node.parameters import FixedSettings, LiveSettings
from km3d_ros.node.static_transforms import subscribe_to_static_transforms
from km3d_ros.node.worker import NewestWorker

INFO_TIMEOUT = 0.5
"""Seconds after which an image stops waiting for its CameraInfo if no other message arrives."""

WAIT_CHECK_PERIOD = 0.1


class _Camera:
    """State of the pipeline for one camera.

    subscriptions: to images and to CameraInfo. frame_id: of the last image. mount: at
    the last check.
    """

    monitor: HealthMonitor
    reader: ViewReader

    def __init__(self, outputs: Outputs, statistics: FrameStatistics) -> None:
        self.outputs = outputs
        self.statistics = statistics
        self.subscriptions: list[Subscription] = []
        self.pairer = Pairer()
        self.gaps = SequenceGaps()
        self.frame_id: str | None = None
        self.mount: Mount | None = None

    @property
    def image_topic(self) -> str:
        return self.subscriptions[0].topic_name


class Pipeline:
    """Answers the newest frames of all cameras, until it is stopped."""

    def __init__(
        self,
        node: Node,
        detector: Detector,
        settings: FixedSettings,
        mounting: Mounting,
        outputs: Mapping[str, Outputs],
        statistics: Mapping[str, FrameStatistics],
        clock: Callable[[], float],
    ) -> None:
        """Subscribe and start the threads.

        Args:
            node: owner of subscriptions and parameters.
            detector: only this pipeline uses it until it is stopped.
            settings, mounting: of the cameras. Static transforms are added to the mounting.
            outputs, statistics: by camera.
            clock: seconds on a steady clock.

        Raises:
            RuntimeError: the value of a `qos_overrides` parameter is not a QoS policy.
        """
        self._node = node
        self._settings = settings
        self._mounting = mounting
        self._transforms: Subscription | None = None
        self._detector = detector
        self._class_names = detector.spec.classes
        self._now = clock
        self._drawer = NewestWorker(self._draw)
        # On a CPU a batch takes as long as its images one after the other: nobody waits for it.
        self._worker = NewestWorker(self._work, together=detector.is_faster_in_batches)
        self._cameras: dict[str, _Camera] = {}
        # A steady clock: simulated time may stand still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(WAIT_CHECK_PERIOD, self._end_waits, clock=steady)
        try:
            if mounting.base_frame:
                self._transforms = subscribe_to_static_transforms(node, mounting.add)
            for name in outputs:
                self._cameras[name] = _Camera(outputs[name], statistics[name])
                self._subscribe(name, self._cameras[name])
        except Exception:
            self.stop()
            raise

    def _subscribe(self, name: str, camera: _Camera) -> None:
        """Best effort QoS is compatible with every publisher; `qos_overrides` can change it."""
        prefix = f"{name}/" if name else ""
        image_topic, image_type = f"{prefix}image", Image
        if self._settings.image_transport == "compressed":
            # Like image_transport: append to the remapped name of `image`.
            base = self._node.resolve_topic_name(image_topic).removesuffix("/compressed")
            image_topic, image_type = f"{base}/compressed", CompressedImage

        def count_lost(event: Any) -> None:
            camera.statistics.lost(event.total_count_change)

        for message_type, topic, callback, depth, on_lost in (
            (image_type, image_topic, self._take_image, 1, count_lost),
            (CameraInfo, f"{prefix}camera_info", self._take_info, 10, None),
        ):
            subscription = self._node.create_subscription(
                message_type,
                topic,
                with_message_info(partial(callback, camera)),
                QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT),
                event_callbacks=camera.outputs.peers.subscription_callbacks(topic, on_lost),
                qos_overriding_options=QoSOverridingOptions(
                    OVERRIDABLE, callback=make_latched_reliable
                ),
            )
            camera.subscriptions.append(subscription)
        topics = [subscription.topic_name for subscription in camera.subscriptions]
        camera.monitor = HealthMonitor(*topics, self._now(), camera.statistics.totals())
        rectified = self._settings.rectified
        camera.reader = ViewReader(
            is_rectified(camera.image_topic) if rectified == "auto" else rectified,
            self._mounting,
            partial(self._log_calibration, camera),
            partial(self._log_bit_depth, camera),
        )

    # 1. Take: in the executor's thread.

    def _take_image(
        self, camera: _Camera, image: Image | CompressedImage, message_info: Mapping[str, Any]
    ) -> None:
        now = self._now()
        camera.frame_id = image.header.frame_id
        camera.statistics.image_received(now, missed=camera.gaps.missing_before(message_info))
        self._offer(camera, camera.pairer.add_image(image, now))

    def _take_info(
        self, camera: _Camera, info: CameraInfo, message_info: Mapping[str, Any]
    ) -> None:
        camera.statistics.info_received()
        self._offer(camera, camera.pairer.add_info(info))

    def _end_waits(self) -> None:
        """Offer the images that have waited for their CameraInfo for too long."""
        for camera in self._cameras.values():
            waiting = camera.pairer.flush(received_before=self._now() - INFO_TIMEOUT)
            self._offer(camera, waiting)

    def _offer(self, camera: _Camera, frames: Sequence[Frame]) -> None:
        """Give paired frames to the worker; a frame replaces one that still waits there."""
        for frame in frames:
            if frame.info is None:
                reason = camera.pairer.infos.missing(frame.image)
                camera.statistics.dropped(DropCause.NO_CAMERA_INFO, reason)
            elif self._worker.offer(camera, frame) is not None:
                camera.statistics.dropped(DropCause.OVERTAKEN)

    # 2. Work: in the worker's thread.

    def _work(self, frames: Mapping[_Camera, Frame]) -> None:
        """Read, detect and publish the newest frames, at most one per camera."""
        started = self._now()
        views: dict[_Camera, View] = {}
        for camera, frame in frames.items():
            with self._count_drop(camera):
                views[camera] = camera.reader.read(frame)
        if not views:
            return
        with self._count_drop(*views):
            settings = parameters.read(self._node, LiveSettings)
            detector = self._detector
            detector.score_threshold = settings.score_threshold
            detector.max_detections = settings.max_detections
            detector.grm = settings.grm
            detector.classes = () if "" in settings.classes else settings.classes
            detections, stages = detector.batch(
                [view.image for view in views.values()], [view.camera for view in views.values()]
            )
            for (camera, view), found in zip(views.items(), detections, strict=True):
                with self._count_drop(camera):
                    self._publish(camera, view, found, settings.marker_lifetime, started, stages)
                    self._drawer.offer(camera, (view, found))

    def _publish(
        self,
        camera: _Camera,
        view: View,
        detections: Detections,
        marker_lifetime: float,
        started: float,
        stages: StageSeconds,
    ) -> None:
        """Publish the detections, count the frame as answered, then publish the details."""
        frame, outputs, detected = view.frame, camera.outputs, self._now()
        outputs.publish(view, detections, self._class_names)
        camera.statistics.answered(self._now() - frame.received, frame.exact)
        with self._count_undrawn(camera):
            outputs.publish_details(view, detections, self._class_names, marker_lifetime)
            finished, drops = self._now(), camera.statistics.take_drops()
            outputs.publish_timing(
                FrameTiming(
                    header=frame.image.header,
                    wait=started - frame.received,
                    **vars(stages),
                    publish=finished - detected,
                    total=finished - frame.received,
                    drop_causes=[cause.value for cause in drops],
                    drop_counts=list(drops.values()),
                )
            )

    # 3. Draw: in the drawing thread.

    def _draw(self, answers: Mapping[_Camera, tuple[View, Detections]]) -> None:
        """Publish pictures of the newest results."""
        for camera, (view, detections) in answers.items():
            with self._count_undrawn(camera):
                camera.outputs.draw(view, detections, self._class_names)

    # What goes wrong, in any thread.

    @contextmanager
    def _count_drop(self, *cameras: _Camera) -> Iterator[None]:
        """Count a frame of each camera as dropped if an exception ends the processing."""
        try:
            yield
        except Exception as error:
            if isinstance(error, DroppedFrame):
                cause, reason = error.cause, str(error)
            else:
                cause, reason = DropCause.FAILED, self._log_exception(error)
            for camera in cameras:
                camera.statistics.dropped(cause, reason)

    @contextmanager
    def _count_undrawn(self, camera: _Camera) -> Iterator[None]:
        """Count an exception as undrawn: the frame is answered, so it is not dropped."""
        try:
            yield
        except Exception as error:
            camera.statistics.undrawn(self._log_exception(error))

    def _log_exception(self, error: Exception) -> str:
        """Log the traceback; returns the exception as one line."""
        if self._node.context.ok():
            trace = "".join(traceback.format_exception(error))
            self._node.get_logger().error(trace, throttle_duration_sec=LOG_PERIOD)
        return f"{type(error).__name__}: {error}"

    def _log_calibration(self, camera: _Camera, model: CameraModel, info: CameraInfo) -> None:
        topic, logger = camera.image_topic, self._node.get_logger()
        used = "rectified, P is used" if camera.reader.rectified else "raw, K and D are used"
        logger.info(
            f"calibration of {topic}: {model.width}x{model.height} pixels, fx {model.fx:.1f}, "
            f"fy {model.fy:.1f}, cx {model.cx:.1f}, cy {model.cy:.1f}, "
            f"{model.distortion_model or 'no distortion'}, {Mount(model.level)}; images are "
            f"{used}; the network sees {self._detector.view(model).field_of_view:.0f} degrees"
        )
        if camera.reader.rectified and any(info.d) and re.search(r"[/_]raw", topic):
            logger.warning(
                f"{topic} is named like raw images and its lens has distortion, but images are "
                "taken as rectified: set rectified to false or subscribe to image_rect"
            )

    def _log_bit_depth(self, camera: _Camera, bits: int) -> None:
        self._node.get_logger().info(
            f"{camera.image_topic}: 16-bit values use {bits} bits, of which the upper 8 are taken"
        )

    # Health.

    def check(self, name: str) -> tuple[Health, dict[str, object]]:
        """Health of a camera since the last check, and diagnostic values: its rates and mount."""
        self._end_waits()
        camera = self._cameras[name]
        announced = self._node.count_publishers(camera.image_topic) > 0
        mount, concern = self._check_mount(camera)
        concerns = [text for text in (camera.outputs.peers.describe(), concern) if text]
        health, rates = camera.monitor.check(
            self._now(),
            camera.statistics.totals(),
            announced,
            concerns,
            self._describe_wrong_type(camera),
        )
        return health, {"mount": mount, **rates}

    def _check_mount(self, camera: _Camera) -> tuple[str, str]:
        """How a camera is mounted, and what is wrong with that; empty if nothing is."""
        if camera.frame_id is None:
            return "", ""
        try:
            mount = self._mounting.of(camera.frame_id)
        except InputError:  # the frames that are dropped give the reason
            return "unknown", ""
        if mount.problem:
            return "unknown", f"the camera counts as level: {mount.problem}"
        before, camera.mount = camera.mount or mount, mount
        if str(before) == str(mount):
            return str(mount), ""
        return str(mount), f"{camera.frame_id} has moved on the vehicle: {before}, now {mount}"

    def _describe_wrong_type(self, camera: _Camera) -> str:
        """Which topic has only publishers with another message type, and what to change."""
        for subscription in camera.subscriptions:
            topic, kind = subscription.topic_name, subscription.msg_type.__name__
            found = other_types(self._node, topic, f"sensor_msgs/msg/{kind}")
            if not found:
                continue
            base, hint = topic.removesuffix("/compressed"), ""
            if (found, kind) == ("sensor_msgs/msg/CompressedImage", "Image"):
                hint = f": start with image:={base} image_transport:=compressed"
            elif (found, kind) == ("sensor_msgs/msg/Image", "CompressedImage"):
                hint = ": start with image_transport:=raw and the topic of these images"
            return f"{topic} has messages of type {found}, expected sensor_msgs/msg/{kind}{hint}"
        return ""

    # Jumps and end.

    def reset(self) -> None:
        """Handle a jump back in time: offer the waiting images and forget stamps."""
        for camera in self._cameras.values():
            self._offer(camera, camera.pairer.flush())
            camera.pairer.forget_stamps()

    def stop(self) -> None:
        """Unsubscribe and finish the frames in work; waiting frames count as paused."""
        self._node.destroy_timer(self._timer)
        if self._transforms is not None:
            self._node.destroy_subscription(self._transforms)
        for camera in self._cameras.values():
            for subscription in camera.subscriptions:
                self._node.destroy_subscription(subscription)
            for _ in camera.pairer.flush():
                camera.statistics.dropped(DropCause.PAUSED)
        for camera in self._worker.stop():
            camera.statistics.dropped(DropCause.PAUSED)
        self._drawer.stop()
        # The executor may keep a destroyed subscription, and so this object, for a while.
        # Release the memory of the detector now.
        del self._detector
