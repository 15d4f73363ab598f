"""Which topics of a recording belong to its cameras."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sensor_msgs.msg import CompressedImage, Image

from km3d_ros.data.calibration import is_ros_calibration
from km3d_ros.errors import InputError
from km3d_ros.frames.topic_names import (
    camera_info_beside,
    is_depth,
    is_rectified,
    namespace_of,
    not_readable,
)
from km3d_ros.tracking.world import GROUND_FRAME

MESSAGE_CLASSES = {
    "sensor_msgs/msg/Image": Image,
    "sensor_msgs/msg/CompressedImage": CompressedImage,
}
INFO_TYPE = "sensor_msgs/msg/CameraInfo"
_DEPTH_ENCODINGS = ("16UC1", "32FC1")
"""Of depth images, by REP 118."""


@dataclass(frozen=True)
class Wanted:
    """What a user chooses.

    images: image topics; empty: of every camera.
    infos: CameraInfo topic of the only camera; None: the one beside its images.
    calibration: camera file of the only camera, used instead of CameraInfo.
    rectified: whether images are rectified; None: those of topics named like image_rect are, and
        those of a KITTI calibration.
    prefix: start of the topics of the results. With several cameras, the camera's name follows:
        the last part of its namespace, or all of it where two are the same.
    tracks: track the objects; results are on `prefix`_tracker/….
    odometry: topic of the vehicle's odometry; empty: the only one, if there is one.
    mounts: of cameras in the vehicle's frame (`poses.parse_mount`).
    ground_frame: whose xy plane is the ground, if the static transforms have it.
    """

    images: Sequence[str] = ()
    infos: str | None = None
    calibration: Path | None = None
    rectified: bool | None = None
    prefix: str = "/km3d"
    tracks: bool = False
    odometry: str = ""
    mounts: Sequence[str] = ()
    ground_frame: str = GROUND_FRAME


@dataclass(frozen=True)
class Camera:
    """A camera.

    images: topic.
    infos: CameraInfo topic, or the path of a camera file.
    rectified: P of the CameraInfo is used; else K, D and R.
    results: start of the topics of its results.
    """

    images: str
    infos: str
    rectified: bool
    results: str


def choose_cameras(
    path: Path, types: Mapping[str, str], encodings: Mapping[str, str], wanted: Wanted
) -> list[Camera]:
    """The cameras of a recording.

    Unless the user chooses, every camera is taken whose images have a CameraInfo beside them.
    Depth images are left out. Of several image topics of a camera, rectified images come first,
    then those that are not compressed.

    types: of the topics of the recording, by name.
    encodings: of the first image of each image topic.

    Raises:
        InputError: no such images, no CameraInfo for them, or a calibration for several cameras.
    """
    images = [name for name, kind in types.items() if kind in MESSAGE_CLASSES]
    infos = [name for name, kind in types.items() if kind == INFO_TYPE]
    depths = [name for name in images if _has_depth(name, encodings)]
    known = (", ".join(sorted(images)) or "none") + not_readable(types)
    for topic in wanted.images:
        if topic not in images:
            raise InputError(f"{path}: no images on {topic}; image topics in this bag: {known}")
    pictures = [name for name in images if name not in depths]
    chosen = list(dict.fromkeys(wanted.images)) or _with_info_beside(pictures, infos)
    if not chosen and len(pictures) != 1:
        left_out = f" ({', '.join(sorted(depths))}: depths)" if depths else ""
        raise InputError(
            f"{path}: no images with a CameraInfo beside them{left_out}; "
            f"image topics in this bag: {known}"
        )
    chosen = chosen or pictures
    if len(chosen) > 1 and (wanted.infos or wanted.calibration):
        option = "--camera-info" if wanted.infos else "--camera"
        raise InputError(
            f"{path}: {option} is for one camera, expected --image with one of: "
            + ", ".join(chosen)
        )
    return [
        Camera(
            topic,
            _calibration_of(path, topic, infos, wanted, alone=len(chosen) == 1),
            _is_rectified(topic, wanted),
            f"{wanted.prefix}/{name}" if name else wanted.prefix,
        )
        for topic, name in zip(chosen, _names(path, chosen), strict=True)
    ]


def _has_depth(topic: str, encodings: Mapping[str, str]) -> bool:
    encoding = encodings.get(topic, "").partition(";")[0]
    return is_depth(topic) or encoding in _DEPTH_ENCODINGS


def _with_info_beside(images: Sequence[str], infos: Collection[str]) -> list[str]:
    """The best image topic of each namespace that has a CameraInfo."""
    found: dict[str, list[str]] = defaultdict(list)
    for topic in images:
        if camera_info_beside(topic, infos):
            found[namespace_of(topic)].append(topic)
    return [
        min(topics, key=lambda t: (not is_rectified(t), len(t), t)) for topics in found.values()
    ]


def _calibration_of(
    path: Path, topic: str, infos: Sequence[str], wanted: Wanted, alone: bool
) -> str:
    """The camera file or CameraInfo topic: the user's, the one beside the images, the only one."""
    if wanted.calibration:
        return str(wanted.calibration)
    found = wanted.infos or camera_info_beside(topic, infos)
    if found is None and alone and len(infos) == 1:
        found = infos[0]
    if found not in infos:
        place = f"on {wanted.infos}" if wanted.infos else f"beside {topic}"
        raise InputError(
            f"{path}: no CameraInfo {place}; CameraInfo topics in this bag: "
            + (", ".join(sorted(infos)) or "none; --camera takes a calibration file")
        )
    return found


def _is_rectified(topic: str, wanted: Wanted) -> bool:
    file = wanted.calibration
    if file and not is_ros_calibration(file):
        if wanted.rectified is False:
            raise InputError(f"{file}: a KITTI calibration is of rectified images, not raw ones")
        return True
    return is_rectified(topic) if wanted.rectified is None else wanted.rectified


def _names(path: Path, topics: Sequence[str]) -> list[str]:
    """Names that distinguish the cameras; empty for a camera alone."""
    if len(topics) == 1:
        return [""]
    spaces = [namespace_of(topic).strip("/") for topic in topics]
    if len(set(spaces)) < len(spaces):
        raise InputError(f"{path}: {' and '.join(topics)} are images of one camera")
    names = [space.rpartition("/")[2] for space in spaces]
    return names if len(set(names)) == len(names) else [s.replace("/", "_") for s in spaces]
