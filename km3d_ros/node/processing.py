"""What happens to frames: images and cameras in, detections out (design, section 8)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from km3d_ros.errors import InputError
from km3d_ros.frames.bit_depth import BitDepth
from km3d_ros.frames.encodings import to_bgr
from km3d_ros.frames.pairing import Frame
from km3d_ros.frames.statistics import DropCause, DroppedFrame
from km3d_ros.geometry.camera import CameraModel
from km3d_ros.inference.detections import Detections
from km3d_ros.inference.detector import Detector, StageSeconds, check_image
from km3d_ros.node.parameters import LiveSettings

if TYPE_CHECKING:
    from sensor_msgs.msg import CameraInfo


@dataclass(frozen=True)
class View:
    """A frame whose picture and camera are understood.

    image: (height, width, 3) uint8, BGR.
    """

    frame: Frame
    image: np.ndarray
    camera: CameraModel


@dataclass(frozen=True)
class Answer:
    """What was found in a view. stages: of all the views that were answered together."""

    view: View
    detections: Detections
    stages: StageSeconds


class ViewReader:
    """Reads the frames of one camera; its model is built anew only when the CameraInfo changes."""

    def __init__(
        self,
        rectified: bool,
        on_calibration: Callable[[CameraModel], None],
        on_bit_depth: Callable[[int], None] | None = None,
    ) -> None:
        """Prepare.

        Args:
            rectified: whether images are rectified (P is used) or raw (K and D).
            on_calibration: is called with each new model.
            on_bit_depth: is called with the bits in use of 16-bit images, whenever they change.
        """
        self._depth = BitDepth(on_bit_depth)
        self._rectified = rectified
        self._on_calibration = on_calibration
        self._described: tuple | None = None
        self._camera: CameraModel | None = None

    def __call__(self, frame: Frame) -> View:
        """Read a frame that has its CameraInfo.

        Raises:
            DroppedFrame: the image or its CameraInfo is unusable.
        """
        with _dropping(DropCause.BAD_IMAGE):
            image = to_bgr(frame.image, self._depth)
        with _dropping(DropCause.BAD_CAMERA_INFO):
            camera = self._camera_of(frame.info)
        with _dropping(DropCause.SIZE_MISMATCH):
            check_image(image, camera)
        return View(frame, image, camera)

    def _camera_of(self, info: CameraInfo) -> CameraModel:
        described = _content(info)
        if described != self._described:
            self._camera = CameraModel.from_camera_info(info, self._rectified)
            self._described = described
            self._on_calibration(self._camera)
        return self._camera


class Processor:
    """Answers views with one detector."""

    def __init__(self, detector: Detector) -> None:
        self.detector = detector

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names of the weights, by index."""
        return self.detector.spec.classes

    def __call__(self, views: Sequence[View], settings: LiveSettings) -> list[Answer]:
        """Answer one or several views at once."""
        self.detector.score_threshold = settings.score_threshold
        self.detector.max_detections = settings.max_detections
        self.detector.grm = settings.grm
        detections, stages = self.detector.batch(
            [view.image for view in views], [view.camera for view in views]
        )
        return [
            Answer(view, self._chosen(found, settings), stages)
            for view, found in zip(views, detections, strict=True)
        ]

    def warm_up(self, views: int) -> None:
        """Run the network on nothing, for each number of views that can wait at once.

        For one view it has run: the detector comes with a backend that has answered once.
        """
        for count in range(2, views + 1):
            self.detector.warm_up(count)

    def check_classes(self, chosen: Sequence[str]) -> None:
        """Refuse class names that the weights do not know.

        Raises:
            InputError: names the unknown class and the known ones.
        """
        for name in chosen:
            if name and name not in self.class_names:
                known = ", ".join(self.class_names)
                raise InputError(f"classes: the weights do not know {name!r}; they know {known}")

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
        *(np.asarray(matrix).tobytes() for matrix in (info.d, info.k, info.r, info.p)),
        (info.binning_x, info.binning_y),
        (roi.x_offset, roi.y_offset, roi.width, roi.height),
    )
