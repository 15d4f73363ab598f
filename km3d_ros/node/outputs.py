"""The publishers of one camera."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.lifecycle import Node, Publisher
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection3D, Detection3DArray
from visualization_msgs.msg import MarkerArray

from km3d_ros.drawing.from_above import draw_bev
from km3d_ros.drawing.on_image import draw_detections
from km3d_ros.frames.reading import View
from km3d_ros.inference.detections import Detections
from km3d_ros.msg import FrameTiming, KeypointDetectionArray
from km3d_ros.node.markers import marker_array
from km3d_ros.node.messages import detection_array, image_message, keypoint_array
from km3d_ros.node.middleware import OVERRIDABLE, IncompatiblePeers


class Outputs:
    """Publishes the results of one camera.

    Objects, markers and pictures are built only if their topic has a subscriber.

    peers: peers of this camera's topics with incompatible QoS.
    """

    def __init__(self, node: Node, camera: str) -> None:
        """Create the publishers. Their QoS is reliable with depth 10; `qos_overrides` changes it.

        Args:
            node: owner of the publishers.
            camera: name that the topics begin with; empty for the only camera.

        Raises:
            RuntimeError: the value of a `qos_overrides` parameter is not a QoS policy.
        """
        self.peers = IncompatiblePeers(node)
        self._node = node
        self._prefix = f"~/{camera}" if camera else "~"
        self._publishers: list[Publisher] = []
        self._pool: list[Detection3D] = []
        try:
            self._detections = self._create(Detection3DArray, "detections")
            self._objects = self._create(KeypointDetectionArray, "objects")
            self._markers = self._create(MarkerArray, "markers")
            self._annotated = self._create(Image, "image_annotated")
            self._bev = self._create(Image, "bev")
            self._timing = self._create(FrameTiming, "timing")
        except Exception:
            self.destroy()
            raise

    def publish(self, view: View, detections: Detections, class_names: Sequence[str]) -> None:
        """Publish the detections of a frame."""
        header = view.frame.image.header
        message = detection_array(detections, class_names, view.camera, header, self._pool)
        self._detections.publish(message)

    def publish_details(
        self, view: View, detections: Detections, class_names: Sequence[str], lifetime: float
    ) -> None:
        """Publish keypoints and markers; `lifetime` of the markers in seconds."""
        header = view.frame.image.header
        if _has_subscriber(self._objects):
            self._objects.publish(keypoint_array(detections, class_names, view.camera, header))
        if _has_subscriber(self._markers):
            message = marker_array(detections, class_names, view.camera, header, lifetime)
            self._markers.publish(message)

    def draw(self, view: View, detections: Detections, class_names: Sequence[str]) -> None:
        """Publish pictures of the detections."""
        header = view.frame.image.header
        if _has_subscriber(self._annotated):
            picture = draw_detections(view.image, detections, view.camera, class_names)
            self._annotated.publish(image_message(picture, header))
        if _has_subscriber(self._bev):
            picture = draw_bev(detections, view.camera, class_names)
            self._bev.publish(image_message(picture, header))

    def publish_timing(self, timing: FrameTiming) -> None:
        """Publish the duration of the stages of a frame."""
        self._timing.publish(timing)

    def destroy(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers:
            self._node.destroy_lifecycle_publisher(publisher)

    def _create(self, message_type: type, name: str) -> Publisher:
        topic = f"{self._prefix}/{name}"
        publisher = self._node.create_lifecycle_publisher(
            message_type,
            topic,
            QoSProfile(depth=10),
            event_callbacks=self.peers.publisher_callbacks(topic),
            qos_overriding_options=QoSOverridingOptions(OVERRIDABLE),
        )
        self._publishers.append(publisher)
        return publisher


def _has_subscriber(publisher: Publisher) -> bool:
    return publisher.get_subscription_count() > 0
