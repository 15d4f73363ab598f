"""The images of a bag as pinhole frames on disk; needs no ROS installation."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection
from rosbags.typesys import Stores, get_typestore

from km3d_ros.data.calibration import read_camera
from km3d_ros.data.extraction import CameraImage, extract_once, fingerprint
from km3d_ros.data.ros1 import Ros1Converter
from km3d_ros.errors import InputError, check_downloaded, naming
from km3d_ros.frames.bit_depth import BitDepth
from km3d_ros.frames.encodings import to_bgr
from km3d_ros.frames.mounting import Mounting
from km3d_ros.frames.pairing import recorded_infos
from km3d_ros.frames.static_transforms import STATIC_TRANSFORMS
from km3d_ros.frames.topic_names import (
    IMAGE_TYPES,
    camera_info_beside,
    is_depth,
    is_rectified,
    not_readable,
)
from km3d_ros.geometry.camera import CameraModel

MAX_FRAMES = 5000
"""Largest number of images; of more, evenly spread ones are taken, as neighbours are alike."""

_INFO_TYPE = "sensor_msgs/msg/CameraInfo"


def open_bag(path: Path) -> AnyReader:
    """A reader of a whole bag: a rosbag2 folder, or an `.mcap`, `.db3` or ROS 1 `.bag` file.

    Raises:
        InputError: there is no such bag, it is broken, or it was not downloaded.
    """
    for file in path.iterdir() if path.is_dir() else [path]:
        if file.is_file():
            check_downloaded(file)
    with _reading(path):
        reader = AnyReader([path], default_typestore=get_typestore(Stores.LATEST))
        reader.open()
    return reader


def extract_bag(
    path: Path, topic: str | None, calibration: Path | None, cache: Path, mounting: Mounting
) -> Path:
    """Write up to `MAX_FRAMES` images of a bag, as a level pinhole sees them, in KITTI format.

    path, topic, calibration, mounting: as of `BagFrames`, whose errors are raised.
    cache: folder that keeps what was extracted. Returns a folder in it.
    """
    files = sorted(f for f in path.iterdir() if f.is_file()) if path.is_dir() else [path]
    files += [calibration] if calibration else []
    key = fingerprint(path.resolve().stem, files, (topic, MAX_FRAMES, *mounting.settings))

    def frames() -> Iterator[CameraImage]:
        found = BagFrames(path, topic, calibration, MAX_FRAMES, mounting)
        yield from found
        if found.broken:
            left_out = f"{found.broken[0]} ({len(found.broken)} like this are left out)"
            print(f"{path}: {left_out}", file=sys.stderr)

    return extract_once(cache, key, frames)


@dataclass
class BagFrames:
    """Iterable over the frames of one image topic, by time, named by their number in the topic.

    Images of a topic named like image_rect are rectified (P of the CameraInfo), others are raw
    (K and D). `frames.pairing` finds the CameraInfo of an image. Images that cannot be decoded or
    that have no CameraInfo are left out. The frames can be read once. The last attributes are
    complete after that.

    topic: None for the only image topic, whose name it becomes.
    calibration: as for `read_camera`, used instead of CameraInfo.
    most: largest number of images; of more, evenly spread ones are taken.
    mounting: how the camera is mounted; the static transforms of the bag are added to it.
    total: number of images of the topic.
    taken: number of frames by width, height and whether the camera has no lens distortion.
    broken: the images that are left out, each with the reason.

    Raises:
        InputError: no such bag or topic, a broken bag, no camera, or no image to decode.
    """

    path: Path
    topic: str | None
    calibration: Path | None
    most: int
    mounting: Mounting = field(default_factory=Mounting)
    total: int = 0
    taken: Counter[tuple[int, int, bool]] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[CameraImage]:
        with closing(open_bag(self.path)) as reader:
            images = _choose_images(reader, self.path, self.topic)
            self.topic = images[0].topic
            self.total = sum(connection.msgcount for connection in images)
            self._read_transforms(reader)
            depth = BitDepth()
            infos = [] if self.calibration else _choose_infos(reader, self.path, self.topic)
            for number, message, info, missing in _paired(
                reader, self.path, images, infos, lambda n: n * self.most % self.total < self.most
            ):
                where = f"image {number} of {self.topic}"
                try:
                    image = to_bgr(message, depth)
                    if missing:
                        raise InputError(missing)
                except InputError as error:
                    self.broken.append(f"{where}: {error}")
                    continue
                with naming(f"{self.path}: {where}"):
                    camera = _camera(self.calibration, info, self.topic, image.shape)
                    level = self.mounting.of(message.header.frame_id).level
                self.taken[camera.width, camera.height, camera.is_rectified] += 1
                yield CameraImage(f"{number:06d}", image, replace(camera, level=level))
        if not self.taken:
            cause = self.broken[0] if self.broken else f"no images on {self.topic}"
            raise InputError(f"{self.path}: {cause}")

    def _read_transforms(self, reader: AnyReader) -> None:
        topic, kind = STATIC_TRANSFORMS
        found = _by_topic(reader, (kind,)).get(topic)
        if found and self.mounting.base_frame:
            deserialize = _deserializer(reader)
            with _reading(self.path):
                for _, _, data in reader.messages(found):
                    self.mounting.add(deserialize(data, kind))


def _camera(
    calibration: Path | None, info: Any, topic: str, shape: tuple[int, ...]
) -> CameraModel:
    rectified = is_rectified(topic)
    height, width, _ = shape
    if calibration:
        return read_camera(calibration, width, height, rectified)
    camera = CameraModel.from_camera_info(info, rectified)
    if (camera.width, camera.height) != (width, height):
        raise InputError(
            f"{width}x{height} pixels, but its CameraInfo is for {camera.width}x{camera.height}"
        )
    return camera


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn the errors of storage and compression libraries into InputError."""
    try:
        yield
    except Exception as error:
        hint = "; `rosbag reindex` may repair it" if path.suffix == ".bag" else ""
        raise InputError(f"{path} is not a readable bag: {error}{hint}") from error


def _choose_images(reader: AnyReader, path: Path, topic: str | None) -> list[Connection]:
    found = _by_topic(reader, IMAGE_TYPES)
    cameras = [name for name in found if not is_depth(name)]
    if topic is None and len(cameras) == 1:
        (topic,) = cameras
    if topic not in found:
        known = ", ".join(sorted(found)) or "none"
        known += not_readable({c.topic: c.msgtype for c in reader.connections})
        wanted = f"no images on {topic}" if topic else "name the image topic"
        raise InputError(f"{path}: {wanted}; image topics in this bag: {known}")
    return found[topic]


def _choose_infos(reader: AnyReader, path: Path, topic: str) -> list[Connection]:
    """The CameraInfo beside the image topic, else the only one."""
    found = _by_topic(reader, (_INFO_TYPE,))
    if len(found) == 1:
        return next(iter(found.values()))
    beside = camera_info_beside(topic, found)
    if beside is None:
        raise InputError(f"{path}: no CameraInfo for {topic} in this bag: a camera file is needed")
    return found[beside]


def _by_topic(reader: AnyReader, types: tuple[str, ...]) -> dict[str, list[Connection]]:
    """The connections that have messages, by topic; a topic has one per publisher."""
    found: dict[str, list[Connection]] = {}
    for connection in reader.connections:
        if connection.msgtype in types and connection.msgcount:
            found.setdefault(connection.topic, []).append(connection)
    return found


def _paired(
    reader: AnyReader,
    path: Path,
    images: list[Connection],
    infos: list[Connection],
    takes: Callable[[int], bool],
) -> Iterator[tuple[int, Any, Any, str]]:
    """Number, image and CameraInfo of the images whose number is taken.

    Without `infos` the CameraInfo is None. If none belongs to an image, the last item is why.
    """
    with _reading(path):
        recorded = [(time, data) for _, time, data in reader.messages(infos)] if infos else []
        deserialize = _deserializer(reader)
        known = recorded_infos(recorded, lambda data: deserialize(data, _INFO_TYPE))
        for number, (connection, time, data) in enumerate(reader.messages(images)):
            if takes(number):
                image = deserialize(data, connection.msgtype)
                found, _ = known.find(image, time)
                info = found and deserialize(found, _INFO_TYPE)
                yield number, image, info, known.missing(image) if infos and not info else ""


def _deserializer(reader: AnyReader) -> Callable[[bytes, str], Any]:
    """From a serialised message and its type to a ROS 2 message."""
    if reader.is2:
        return reader.deserialize
    convert = Ros1Converter(reader.typestore)
    return lambda data, kind: convert.types.deserialize_cdr(convert(kind, data), kind)
