"""Serialised detections for an image of a recording."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo

from km3d_ros.bag.camera_topics import MESSAGE_CLASSES, Camera
from km3d_ros.bag.message import Message, Topic
from km3d_ros.bag.ros_messages import described, type_store
from km3d_ros.bag.survey import Survey
from km3d_ros.data.calibration import read_camera
from km3d_ros.frames.bit_depth import BitDepth
from km3d_ros.frames.drops import DropCause, DroppedFrame, dropping
from km3d_ros.frames.encodings import to_bgr
from km3d_ros.frames.mounting import Mounting
from km3d_ros.frames.pairing import Frame, recorded_infos
from km3d_ros.frames.reading import View, ViewReader
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.detector import Detector
from km3d_ros.node.messages import detection_array, keypoint_array

DETECTIONS = "vision_msgs/msg/Detection3DArray"
OBJECTS = "km3d_ros/msg/KeypointDetectionArray"


class Result(NamedTuple):
    """Result of a frame.

    messages: serialised results by topic; empty if the frame could not be used.
    exact: its CameraInfo has the same stamp.
    cause, reason: why the frame could not be used; else empty.
    """

    messages: Mapping[Topic, bytes]
    exact: bool = False
    cause: str = ""
    reason: str = ""


class FrameDetector:
    """Detects in the images of one or more cameras, one image at a time."""

    def __init__(
        self,
        detector: Detector,
        cameras: Sequence[Camera],
        survey: Survey,
        mounting: Mounting,
        calibration: Path | None = None,
        report: Callable[[str], None] = print,
    ) -> None:
        """Prepare.

        Args:
            detector: it detects.
            cameras: of the recording.
            survey: of the recording, with every CameraInfo and static transform.
            mounting: how the cameras are mounted; the static transforms are added to it.
            calibration: camera file, used instead of CameraInfo.
            report: takes one line about the bits in use of 16-bit images.
        """
        self._detector = detector
        self._calibration = calibration
        self._types = type_store()
        self._infos = {
            c.images: recorded_infos(
                survey.infos.get(c.infos, ()), lambda data: deserialize_message(data, CameraInfo)
            )
            for c in cameras
        }
        for message in survey.static_transforms(self._types) if mounting.base_frame else ():
            mounting.add(message)
        self._readers = {
            c.images: _view_reader(c, detector, mounting, calibration, report) for c in cameras
        }
        self._topics: dict[str, tuple[Topic, Topic]] = {
            camera.images: (
                described(f"{camera.results}/detections", DETECTIONS, self._types),
                described(f"{camera.results}/objects", OBJECTS, self._types),
            )
            for camera in cameras
        }

    def takes(self, message: Message) -> bool:
        """Whether a message is an image of one of the cameras."""
        return message.topic.name in self._topics and message.topic.type in MESSAGE_CLASSES

    def __call__(self, message: Message) -> Result:
        """Detect in an image; the result says why an image could not be used."""
        try:
            frame = self._frame(message)
            view = self._readers[message.topic.name](frame)
            topics = self._topics[message.topic.name]
            return Result(dict(zip(topics, self._detect(view), strict=True)), frame.exact)
        except DroppedFrame as dropped:
            return Result({}, False, dropped.cause.value, str(dropped))
        except Exception as error:  # as in the node: the next frames are still processed
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            return Result({}, False, DropCause.FAILED.value, reason)

    def _frame(self, message: Message) -> Frame:
        try:
            image = deserialize_message(message.data, MESSAGE_CLASSES[message.topic.type])
        except Exception:  # rclpy has no public class for what cannot be deserialised
            reason = f"cannot be read as {message.topic.type}"
            raise DroppedFrame(DropCause.BAD_IMAGE, reason) from None
        if self._calibration:
            return Frame(image, 0.0, None, exact=True)
        infos = self._infos[message.topic.name]
        data, exact = infos.find(image, message.time)
        if data is None:
            raise DroppedFrame(DropCause.NO_CAMERA_INFO, infos.missing(image))
        return Frame(image, 0.0, deserialize_message(data, CameraInfo), exact)

    def _detect(self, view: View) -> tuple[bytes, bytes]:
        """The detections and objects of a view, serialised.

        With rosbags, because it sets padding bytes to zero, so that the same detections give the
        same bytes. rclpy leaves them uninitialised.
        """
        header, names = view.frame.image.header, self._detector.spec.classes
        found = self._detector(view.image, view.camera)
        detections = detection_array(found, names, view.camera, header)
        objects = keypoint_array(found, names, view.camera, header)
        return (
            bytes(self._types.serialize_cdr(detections, DETECTIONS)),
            bytes(self._types.serialize_cdr(objects, OBJECTS)),
        )


def _view_reader(
    camera: Camera,
    detector: Detector,
    mounting: Mounting,
    calibration: Path | None,
    report: Callable[[str], None],
) -> Callable[[Frame], View]:
    """Reads the frames of a camera; raises DroppedFrame where one cannot be used."""

    def report_bits(bits: int) -> None:
        report(f"{camera.images}: 16-bit values use {bits} bits, of which the upper 8 are taken")

    if calibration is None:
        return ViewReader(
            camera.rectified, mounting, lambda model, _: detector.view(model), report_bits
        ).read
    depth = BitDepth(report_bits)

    @lru_cache
    def model_of(width: int, height: int, frame_id: str) -> CameraModel:
        model = read_camera(calibration, width, height, camera.rectified)
        return replace(model, level=mounting.of(frame_id).level)

    def read(frame: Frame) -> View:
        with dropping(DropCause.BAD_IMAGE):
            image = to_bgr(frame.image, depth)
        frame_id = frame.image.header.frame_id
        with dropping(DropCause.NO_LEVEL):
            mounting.of(frame_id)
        with dropping(DropCause.BAD_CAMERA_INFO):
            return View(frame, image, model_of(image.shape[1], image.shape[0], frame_id))

    return read
