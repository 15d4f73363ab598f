"""The publishers of one camera."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

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

TOPICS = {
    "detections": Detection3DArray,
    "objects": KeypointDetectionArray,
    "markers": MarkerArray,
    "image_annotated": Image,
    "bev": Image,
    "timing": FrameTiming,
}


class Outputs:
    """Publishes the results of one camera.

    Objects, markers and pictures are built only for subscribers.

    peers: peers of this camera's topics with incompatible QoS.
    """

    def __init__(self, node: Node, camera: str) -> None:
        """Create the publishers. Their QoS is reliable with depth 10; `qos_overrides` changes it.

        camera: name that the topics begin with; empty for the only camera.

        Raises:
            RuntimeError: the value of a `qos_overrides` parameter is not a QoS policy.
        """
        self.peers = IncompatiblePeers(node)
        self._node = node
        self._publishers: dict[str, Publisher] = {}
        self._pool: list[Detection3D] = []
        try:
            for name, message_type in TOPICS.items():
                topic = f"~/{camera}/{name}" if camera else f"~/{name}"
                self._publishers[name] = node.create_lifecycle_publisher(
                    message_type,
                    topic,
                    QoSProfile(depth=10),
                    event_callbacks=self.peers.publisher_callbacks(topic),
                    qos_overriding_options=QoSOverridingOptions(OVERRIDABLE),
                )
        except Exception:
            self.destroy()
            raise

    def publish(self, view: View, detections: Detections, class_names: Sequence[str]) -> None:
        """Publish the detections of a frame."""
        header = view.frame.image.header
        message = detection_array(detections, class_names, view.camera, header, self._pool)
        self._publishers["detections"].publish(message)

    def publish_details(
        self, view: View, detections: Detections, class_names: Sequence[str], lifetime: float
    ) -> None:
        """Publish keypoints and markers; `lifetime` of the markers in seconds."""
        given = detections, class_names, view.camera, view.frame.image.header
        self._publish_if_wanted("objects", lambda: keypoint_array(*given))
        self._publish_if_wanted("markers", lambda: marker_array(*given, lifetime))

    def draw(self, view: View, detections: Detections, class_names: Sequence[str]) -> None:
        """Publish pictures of the detections."""
        given = detections, view.camera, class_names
        header = view.frame.image.header
        self._publish_if_wanted(
            "image_annotated", lambda: image_message(draw_detections(view.image, *given), header)
        )
        self._publish_if_wanted("bev", lambda: image_message(draw_bev(*given), header))

    def publish_timing(self, timing: FrameTiming) -> None:
        """Publish the duration of the stages of a frame."""
        self._publishers["timing"].publish(timing)

    def destroy(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)

    def _publish_if_wanted(self, name: str, make: Callable[[], Any]) -> None:
        publisher = self._publishers[name]
        if publisher.get_subscription_count():
            publisher.publish(make())
