"""Images of a recording in, serialised detections out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rclpy.serialization import deserialize_message

from km3d_ros.bag.cameras import IMAGE_TYPES, Camera, CameraInfos
from km3d_ros.bag.journal import Result
from km3d_ros.bag.records import Message, Topic
from km3d_ros.bag.ros_messages import described, type_store
from km3d_ros.inference.detector import Detector
from km3d_ros.node.messages import detection_array, keypoint_array
from km3d_ros.node.pairing import Frame
from km3d_ros.node.processing import View, ViewReader
from km3d_ros.node.statistics import DropCause, DroppedFrame

DETECTIONS = "vision_msgs/msg/Detection3DArray"
OBJECTS = "km3d_ros/msg/KeypointDetectionArray"


class Answers:
    """Answers the images of some cameras, each on its own: no frame depends on another.

    topics: of the results, by image topic: detections and objects.
    """

    def __init__(
        self,
        detector: Detector,
        cameras: Sequence[Camera],
        infos: Mapping[str, Sequence[tuple[int, bytes]]],
    ) -> None:
        """Args: infos: by topic, recorded time and serialised CameraInfo."""
        self._detector = detector
        self._types = type_store()
        self._infos = {c.images: CameraInfos(infos.get(c.infos, ())) for c in cameras}
        self._readers = {c.images: ViewReader(c.rectified, lambda camera: None) for c in cameras}
        self.topics: dict[str, tuple[Topic, Topic]] = {
            camera.images: (
                described(f"{camera.results}/detections", DETECTIONS, self._types),
                described(f"{camera.results}/objects", OBJECTS, self._types),
            )
            for camera in cameras
        }

    def __call__(self, message: Message) -> Result:
        """Answer an image, or say why that cannot be done."""
        try:
            frame = self._frame(message)
            view = self._readers[message.topic.name](frame)
            return Result(*self._detect(view), frame.exact)
        except DroppedFrame as dropped:
            return Result(None, None, False, dropped.cause.value, str(dropped))
        except Exception as error:  # as in the node: one frame does not end the others
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            return Result(None, None, False, DropCause.FAILED.value, reason)

    def _frame(self, message: Message) -> Frame:
        try:
            image = deserialize_message(message.data, IMAGE_TYPES[message.topic.type])
        except Exception:  # rclpy has no public class for what cannot be deserialised
            reason = f"cannot be read as {message.topic.type}"
            raise DroppedFrame(DropCause.BAD_IMAGE, reason) from None
        info, exact = self._infos[message.topic.name].find(image, message.time)
        if info is None:
            raise DroppedFrame(
                DropCause.NO_CAMERA_INFO,
                f"no CameraInfo has its stamp or its frame_id {image.header.frame_id!r}",
            )
        return Frame(image, 0.0, info, exact)

    def _detect(self, view: View) -> tuple[bytes, bytes]:
        """The detections and objects of a view, serialised.

        rclpy leaves bytes between fields as the memory had them, rosbags sets them to zero: the
        same detections are the same bytes.
        """
        header, names = view.frame.image.header, self._detector.spec.classes
        found = self._detector(view.image, view.camera)
        detections = detection_array(found, names, header)
        objects = keypoint_array(found, names, view.camera, header)
        return (
            bytes(self._types.serialize_cdr(detections, DETECTIONS)),
            bytes(self._types.serialize_cdr(objects, OBJECTS)),
        )
