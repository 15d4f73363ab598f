"""What happens to one frame: image and camera in, detections out (design, section 8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from km3d_ros.errors import InputError
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.detections import Detections
from km3d_ros.inference.detector import Detector, StageSeconds
from km3d_ros.node.images import to_bgr
from km3d_ros.node.pairing import Frame
from km3d_ros.node.parameters import LiveSettings
from km3d_ros.node.statistics import DropCause, DroppedFrame

if TYPE_CHECKING:
    from sensor_msgs.msg import CameraInfo


@dataclass(frozen=True)
class Answer:
    """A frame and what was found in it.

    image: (height, width, 3) uint8, BGR.
    """

    frame: Frame
    image: np.ndarray
    camera: CameraModel
    detections: Detections
    stages: StageSeconds


class FrameProcessor:
    """Turns frames into answers with one detector."""

    def __init__(self, detector: Detector, rectified: bool) -> None:
        """Args: the detector; whether images are rectified (P) or raw (K and D)."""
        self.detector = detector
        self._rectified = rectified
        self._described: tuple | None = None
        self._camera: CameraModel | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names of the weights, by index."""
        return self.detector.spec.classes

    def __call__(self, frame: Frame, settings: LiveSettings) -> Answer:
        """Answer a frame that has its CameraInfo.

        Raises:
            DroppedFrame: the image or its CameraInfo is unusable.
        """
        with _dropping(DropCause.BAD_IMAGE):
            image = to_bgr(frame.image)
        with _dropping(DropCause.BAD_CAMERA_INFO):
            camera = self._camera_of(frame.info)
        self._apply(settings)
        with _dropping(DropCause.SIZE_MISMATCH):
            detections, stages = self.detector.timed(image, camera)
        return Answer(frame, image, camera, self._chosen(detections, settings), stages)

    def warm_up(self) -> None:
        """Run the network once on nothing: the first frame shall not pay for its start."""
        self.detector.objects(torch.zeros(1, 3, *self.detector.spec.input_size))

    def check_classes(self, chosen: Sequence[str]) -> None:
        """Refuse class names that the weights do not know.

        Raises:
            InputError: names the unknown class and the known ones.
        """
        for name in chosen:
            if name and name not in self.class_names:
                known = ", ".join(self.class_names)
                raise InputError(f"classes: the weights do not know {name!r}; they know {known}")

    def _camera_of(self, info: CameraInfo) -> CameraModel:
        """The camera, built anew only when its description changes."""
        described = _content(info)
        if described != self._described:
            self._camera = CameraModel.from_camera_info(info, self._rectified)
            self._described = described
        return self._camera

    def _apply(self, settings: LiveSettings) -> None:
        self.detector.score_threshold = settings.score_threshold
        self.detector.max_detections = settings.max_detections
        self.detector.grm = settings.grm

    def _chosen(self, detections: Detections, settings: LiveSettings) -> Detections:
        if "" in settings.classes:
            return detections
        chosen = [i for i, name in enumerate(self.class_names) if name in settings.classes]
        return detections[torch.isin(detections.class_index, torch.tensor(chosen))]


@contextmanager
def _dropping(cause: DropCause) -> Iterator[None]:
    """Input that cannot be used ends the frame with this cause."""
    try:
        yield
    except InputError as error:
        raise DroppedFrame(cause, str(error)) from None


def _content(info: CameraInfo) -> tuple:
    """Everything in a CameraInfo but its header, as something that compares."""
    roi = info.roi
    return (
        info.width,
        info.height,
        info.distortion_model,
        *(np.asarray(matrix).tobytes() for matrix in (info.d, info.k, info.p)),
        (info.binning_x, info.binning_y),
        (roi.x_offset, roi.y_offset, roi.width, roi.height),
    )
