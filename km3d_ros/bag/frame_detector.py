"""Serialised detections for an image of a recording."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo

from km3d_ros.bag.camera_topics import MESSAGE_CLASSES, Camera
from km3d_ros.bag.message import Message, Topic
from km3d_ros.bag.ros_messages import described, type_store
from km3d_ros.bag.survey import Survey
from km3d_ros.data.calibration import read_camera
from km3d_ros.frames.drops import DropCause, DroppedFrame
from km3d_ros.frames.mounting import Mounting
from km3d_ros.frames.pairing import CameraInfos, Frame, recorded_infos
from km3d_ros.frames.reading import ViewReader
from km3d_ros.inference.detector import Detector
from km3d_ros.node.messages import detection_array, keypoint_array

RESULTS = {
    "detections": ("vision_msgs/msg/Detection3DArray", detection_array),
    "objects": ("km3d_ros/msg/KeypointDetectionArray", keypoint_array),
}
"""Names of the topics with results, their types and the functions that make their messages."""


class _Source(NamedTuple):
    """What a camera's images are read with, and the topics of `RESULTS`."""

    infos: CameraInfos[bytes]
    reader: ViewReader
    results: Sequence[Topic]


class FrameDetector:
    """Detects in the images of one or more cameras, one image at a time."""

    def __init__(
        self,
        detector: Detector,
        cameras: Sequence[Camera],
        survey: Survey,
        mounting: Mounting,
        calibration: Path | None,
        report: Callable[[str], None],
    ) -> None:
        """Prepare the readers of the cameras, from a survey of their recording.

        mounting: how the cameras are mounted; the static transforms are added to it.
        calibration: camera file, used instead of CameraInfo.
        report: takes one line about the bits in use of 16-bit images.
        """
        self._detector = detector
        self._calibration = calibration
        self._types = type_store()
        for message in survey.static_transforms(self._types) if mounting.base_frame else ():
            mounting.add(message)
        self._sources: dict[str, _Source] = {}
        for camera in cameras:
            from_file = partial(read_camera, calibration, rectified=camera.rectified)
            self._sources[camera.images] = _Source(
                recorded_infos(survey.infos.get(camera.infos, ()), _read_info),
                ViewReader(
                    camera.rectified,
                    mounting,
                    lambda model, _: detector.view(model),
                    partial(_report_bits, report, camera.images),
                    from_file if calibration else None,
                ),
                [
                    described(f"{camera.results}/{name}", kind, self._types)
                    for name, (kind, _) in RESULTS.items()
                ],
            )

    def takes(self, message: Message) -> bool:
        """Whether a message is an image of one of the cameras."""
        return message.topic.name in self._sources and message.topic.type in MESSAGE_CLASSES

    def __call__(self, message: Message) -> tuple[Mapping[Topic, bytes], bool]:
        """Detect in an image.

        Returns:
            The serialised `RESULTS` by topic, and whether the CameraInfo has the image's stamp.

        Raises:
            DroppedFrame: the image cannot be used.
        """
        try:
            return self._detect(message, self._sources[message.topic.name])
        except DroppedFrame:
            raise
        except Exception as error:  # as in the node: the next frames are still processed
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise DroppedFrame(DropCause.FAILED, reason) from error

    def _detect(self, message: Message, source: _Source) -> tuple[Mapping[Topic, bytes], bool]:
        try:
            image = deserialize_message(message.data, MESSAGE_CLASSES[message.topic.type])
        except Exception:  # rclpy has no public class for what cannot be deserialised
            reason = f"cannot be read as {message.topic.type}"
            raise DroppedFrame(DropCause.BAD_IMAGE, reason) from None
        info, exact = None, True
        if not self._calibration:
            data, exact = source.infos.find(image, message.time)
            if data is None:
                raise DroppedFrame(DropCause.NO_CAMERA_INFO, source.infos.missing(image))
            info = _read_info(data)
        view = source.reader.read(Frame(image, 0.0, info, exact))
        found, names = self._detector(view.image, view.camera), self._detector.spec.classes
        results = {}
        for topic, (kind, make) in zip(source.results, RESULTS.values(), strict=True):
            content = make(found, names, view.camera, image.header)
            # With rosbags, because it sets padding bytes to zero, so that the same detections give
            # the same bytes. rclpy leaves them uninitialised.
            results[topic] = bytes(self._types.serialize_cdr(content, kind))
        return results, exact


def _read_info(data: bytes) -> CameraInfo:
    return deserialize_message(data, CameraInfo)


def _report_bits(report: Callable[[str], None], topic: str, bits: int) -> None:
    report(f"{topic}: 16-bit values use {bits} bits, of which the upper 8 are taken")
