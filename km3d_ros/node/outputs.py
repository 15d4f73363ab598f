"""The topics that answers go out on (design, section 8)."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.lifecycle import Node, Publisher
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection3D, Detection3DArray
from visualization_msgs.msg import MarkerArray

from km3d_ros.drawing.boxes import draw_bev, draw_detections
from km3d_ros.msg import FrameTiming, KeypointDetectionArray
from km3d_ros.node.markers import marker_array
from km3d_ros.node.messages import detection_array, image_message, keypoint_array
from km3d_ros.node.middleware import QosConflicts
from km3d_ros.node.processing import Answer


class Outputs:
    """The publishers of one camera. Only detections and timing are made without a subscriber.

    conflicts: peers of this camera's topics with another quality of service.
    """

    def __init__(self, node: Node, camera: str) -> None:
        """Create the publishers, reliable with depth 10 unless `qos_overrides` says otherwise.

        Args:
            node: it has the publishers.
            camera: its name, which the topics begin with; empty for the only one.

        Raises:
            RuntimeError: a `qos_overrides` parameter has a value that is no QoS policy.
        """
        self.conflicts = QosConflicts(node)
        self._node = node
        self._prefix = f"~/{camera}" if camera else "~"
        self._publishers: list[Publisher] = []
        self._pool: list[Detection3D] = []
        try:
            self._detections = self._publisher(Detection3DArray, "detections")
            self._objects = self._publisher(KeypointDetectionArray, "objects")
            self._markers = self._publisher(MarkerArray, "markers")
            self._annotated = self._publisher(Image, "image_annotated")
            self._bev = self._publisher(Image, "bev")
            self._timing = self._publisher(FrameTiming, "timing")
        except Exception:
            self.destroy()
            raise

    def publish(self, answer: Answer, class_names: Sequence[str]) -> None:
        """Publish the detections of a frame."""
        header = answer.view.frame.image.header
        found = detection_array(answer.detections, class_names, header, self._pool)
        self._detections.publish(found)

    def publish_details(
        self, answer: Answer, class_names: Sequence[str], marker_lifetime: float
    ) -> None:
        """Publish what stands behind the detections, and their markers (lifetime in seconds)."""
        found, header = answer.detections, answer.view.frame.image.header
        if _wanted(self._objects):
            camera = answer.view.camera
            self._objects.publish(keypoint_array(found, class_names, camera, header))
        if _wanted(self._markers):
            self._markers.publish(marker_array(found, class_names, header, marker_lifetime))

    def draw(self, answer: Answer, class_names: Sequence[str]) -> None:
        """Publish pictures of the detections."""
        found, view = answer.detections, answer.view
        header = view.frame.image.header
        if _wanted(self._annotated):
            picture = draw_detections(view.image, found, view.camera, class_names)
            self._annotated.publish(image_message(picture, header))
        if _wanted(self._bev):
            picture = draw_bev(found, view.camera, class_names)
            self._bev.publish(image_message(picture, header))

    def publish_timing(self, timing: FrameTiming) -> None:
        """Publish where the time of a frame went."""
        self._timing.publish(timing)

    def destroy(self) -> None:
        """Take the publishers off the node."""
        for publisher in self._publishers:
            self._node.destroy_lifecycle_publisher(publisher)

    def _publisher(self, message_type: type, name: str) -> Publisher:
        topic = f"{self._prefix}/{name}"
        publisher = self._node.create_lifecycle_publisher(
            message_type,
            topic,
            QoSProfile(depth=10),
            event_callbacks=self.conflicts.of_publisher(topic),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._publishers.append(publisher)
        return publisher


def _wanted(publisher: Publisher) -> bool:
    return publisher.get_subscription_count() > 0
