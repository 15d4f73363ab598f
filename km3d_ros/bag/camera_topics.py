"""Which topics of a recording belong to its cameras."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sensor_msgs.msg import CompressedImage, Image

from km3d_ros.data.bag_images import camera_info_beside, is_rectified, namespace_of
from km3d_ros.errors import InputError

IMAGE_TYPES = {
    "sensor_msgs/msg/Image": Image,
    "sensor_msgs/msg/CompressedImage": CompressedImage,
}
INFO_TYPE = "sensor_msgs/msg/CameraInfo"


@dataclass(frozen=True)
class Camera:
    """A camera: its topics, and what the topics of its results begin with.

    rectified: P of the CameraInfo is used, else K and D.
    """

    images: str
    infos: str
    rectified: bool
    results: str


def choose_cameras(
    path: Path,
    types: Mapping[str, str],
    wanted: Sequence[str],
    rectified: bool | None,
    prefix: str,
) -> list[Camera]:
    """The cameras of a recording.

    Without `wanted`, every camera is taken whose images have a CameraInfo beside them. Of several
    image topics of a camera, rectified images come first, then those that are not compressed.

    Args:
        path: the recording.
        types: of the topics, by name.
        wanted: image topics.
        rectified: whether images are rectified; None: those of topics named like image_rect are.
        prefix: what the topics of the results begin with. Those of several cameras go on with the
            camera's name, the last part of its namespace, or all of it where two are the same.

    Raises:
        InputError: no such images, or no CameraInfo for them.
    """
    images = [name for name, kind in types.items() if kind in IMAGE_TYPES]
    infos = [name for name, kind in types.items() if kind == INFO_TYPE]
    known = ", ".join(sorted(images)) or "none"
    for topic in wanted:
        if topic not in images:
            raise InputError(f"{path}: no images on {topic}; image topics in this bag: {known}")
    chosen = list(dict.fromkeys(wanted)) or _with_info_beside(images, infos)
    if not chosen and len(images) == 1:
        chosen = images
    if not chosen:
        raise InputError(
            f"{path}: no images with a CameraInfo beside them; image topics in this bag: {known}"
        )
    return [
        Camera(
            topic,
            _info_topic(path, topic, infos, alone=len(chosen) == 1),
            is_rectified(topic) if rectified is None else rectified,
            f"{prefix}/{name}" if name else prefix,
        )
        for topic, name in zip(chosen, _names(path, chosen), strict=True)
    ]


def _with_info_beside(images: Sequence[str], infos: Sequence[str]) -> list[str]:
    """The best image topic of each namespace that has a CameraInfo."""
    found: dict[str, list[str]] = defaultdict(list)
    for topic in images:
        if camera_info_beside(topic, infos):
            found[namespace_of(topic)].append(topic)
    return [
        min(topics, key=lambda t: (not is_rectified(t), len(t), t)) for topics in found.values()
    ]


def _info_topic(path: Path, topic: str, infos: Sequence[str], alone: bool) -> str:
    """The CameraInfo beside the images; for a camera alone, the only one."""
    beside = camera_info_beside(topic, infos)
    if beside is None and not (alone and len(infos) == 1):
        raise InputError(
            f"{path}: no CameraInfo beside {topic}; CameraInfo topics in this bag: "
            + (", ".join(sorted(infos)) or "none")
        )
    return beside or infos[0]


def _names(path: Path, topics: Sequence[str]) -> list[str]:
    """What tells the cameras apart; empty for a camera alone."""
    if len(topics) == 1:
        return [""]
    spaces = [namespace_of(topic).strip("/") for topic in topics]
    if len(set(spaces)) < len(spaces):
        raise InputError(f"{path}: {' and '.join(topics)} are images of one camera")
    names = [space.rpartition("/")[2] for space in spaces]
    return names if len(set(names)) == len(names) else [s.replace("/", "_") for s in spaces]
