"""Images without labels, each with its camera: KITTI folders, plain folders and bags."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from km3d_ros.data.camera_file import read_camera
from km3d_ros.data.extraction import CameraImage, extract_once, fingerprint, rectified
from km3d_ros.data.image_file import check_one_size, read_image
from km3d_ros.data.kitti import Frame, find_images, list_images, read_projection
from km3d_ros.errors import InputError


def open_unlabelled(
    path: Path,
    calibration: Path | None,
    cache: Path,
    topic: str | None = None,
) -> list[Frame]:
    """Open a source of images without labels; labels that it may have are not looked at.

    Args:
        path: a KITTI folder (image_2 and calib), a folder of images, or a bag (a rosbag2 folder
            or one `.mcap`, `.db3` or ROS 1 `.bag` file).
        calibration: camera file, a ROS camera calibration or a KITTI calibration with P2, for a
            folder of images, or for a bag (used instead of its CameraInfo).
        cache: folder for what is extracted from bags and rectified.
        topic: image topic of a bag; the only one where None.

    Raises:
        InputError: the source is missing, empty, broken, or without a camera.
    """
    for needed in (path, calibration):
        if needed and not needed.exists():
            raise InputError(f"{needed}: no such file or folder")
    if _is_bag(path):
        # The library that reads bags is not needed for anything else.
        from km3d_ros.data.bag_images import extract_bag

        return kitti_frames(extract_bag(path, topic, calibration, cache))
    if not path.is_dir():
        raise InputError(
            f"{path}: neither a folder of images nor a bag (.mcap, .db3, .bag, or a folder)"
        )
    if any((path / part / "image_2").is_dir() for part in (".", "training", "testing")):
        return kitti_frames(path)
    if calibration is None:
        raise InputError(f"{path}: a folder of images needs a camera file")
    return image_frames(path, calibration, cache)


def kitti_frames(root: Path) -> list[Frame]:
    """The frames of a KITTI folder, labelled or not; root as for `find_images`.

    Raises:
        InputError: a folder or a calibration is missing or not readable.
    """
    return [
        Frame(path.stem, path, read_projection(path.parents[1] / "calib" / f"{path.stem}.txt"))
        for path in find_images(root, None, ("calib",))
    ]


def image_frames(folder: Path, calibration: Path, cache: Path) -> list[Frame]:
    """The images of a folder, all taken by the camera that one file describes.

    Args:
        folder: images of one size.
        calibration: as for `read_camera`; the images are raw where it has lens distortion or a
            rotation.
        cache: folder that keeps the rectified images of raw ones.

    Raises:
        InputError: no images, or an image or the calibration is not readable or does not fit.
    """
    images = list_images(folder)
    check_one_size(images)
    first = next(_read(images[:1], calibration))
    if first.camera.is_rectified:
        _, projection = rectified(first)
        return [Frame(path.stem, path, projection) for path in images]
    key = fingerprint(folder.resolve().name, (*images, calibration))
    return kitti_frames(extract_once(cache, key, lambda: _read(images, calibration)))


def _read(images: list[Path], calibration: Path) -> Iterator[CameraImage]:
    for path in images:
        image = read_image(path)
        camera = read_camera(calibration, image.shape[1], image.shape[0])
        yield CameraImage(path.stem, image, camera)


def _is_bag(path: Path) -> bool:
    """Whether a path is an `.mcap`, `.db3` or `.bag` file, or a rosbag2 folder."""
    return path.suffix in (".mcap", ".db3", ".bag") or (path / "metadata.yaml").exists()
