"""Writes Town frames to a folder in KITTI format."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2

from km3d_ros.data.calibration import write_calibration, write_ros_calibration
from km3d_ros.data.kitti_labels import write_objects
from km3d_ros.data.level_view import level_projection
from km3d_ros.town.drive import FOCAL, drive
from km3d_ros.town.lens import sample_camera, take
from km3d_ros.town.render import TownFrame, render
from km3d_ros.town.sampling import sample_scene
from km3d_ros.whole_file import write_whole

JPEG_QUALITY = 95


def write_stills(
    root: Path,
    frames: int,
    seed: int,
    size: tuple[int, int],
    focal: float | None,
    workers: int,
    tilt: float = 0.0,
    bent: bool = False,
) -> Iterator[str]:
    """Render frames 0 to `frames` − 1 of a seed in `workers` processes and yield their names.

    root: a folder that `prepare` has made. Frames that it already contains are kept.
    size, focal: as the options of `km3d town`. tilt, bent: as of `lens.sample_camera`.
    """
    names = [f"{k:06d}" for k in range(frames)]
    # Spawn, because a child forked from a process with threads may inherit a locked lock.
    pool = ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,)
    )
    with pool:
        job = partial(_still, root, seed, size, focal, tilt, bent)
        yield from pool.map(job, names, chunksize=8)
    write_split(root, names)


def write_drive(
    root: Path, frames: int, seed: int, size: tuple[int, int], focal: float | None
) -> Iterator[str]:
    """Render one drive into a prepared folder and yield the names of its frames."""
    names = [f"{k:06d}" for k in range(frames)]
    pictures = drive(seed, frames, width=size[0], height=size[1], focal=focal or FOCAL)
    for name, frame in zip(names, pictures, strict=True):
        write_frame(root, name, frame)
        yield name
    write_split(root, names)


def prepare(root: Path) -> None:
    """Make the folders of a data set in KITTI format."""
    for part in ("image_2", "label_2", "calib"):
        (root / "training" / part).mkdir(parents=True, exist_ok=True)
    (root / "ImageSets").mkdir(exist_ok=True)


def write_split(root: Path, names: list[str]) -> None:
    """List all frames in ImageSets/train.txt."""
    (root / "ImageSets" / "train.txt").write_text("".join(name + "\n" for name in names))


def write_frame(root: Path, name: str, frame: TownFrame) -> None:
    """Write the calibration, the labels and the JPEG image of one frame.

    A camera with lens or tilt has ROS's calibration, because KITTI's has no place for them. Labels
    are in the level frame, because KITTI's boxes have no tilt. The image comes last, because
    `write_stills` takes it as the mark of a complete frame.
    """
    folder = root / "training"
    if frame.camera.is_rectified and frame.camera.is_level:
        write_calibration(folder / "calib" / f"{name}.txt", frame.projection)
    else:
        projection = level_projection(frame.camera)
        write_ros_calibration(folder / "calib" / f"{name}.yaml", frame.camera, projection)
    write_objects(folder / "label_2" / f"{name}.txt", frame.objects)
    _, data = cv2.imencode(".jpg", frame.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    write_whole(_picture(root, name), data.data)


def _picture(root: Path, name: str) -> Path:
    return root / "training" / "image_2" / f"{name}.jpg"


def _still(
    root: Path,
    seed: int,
    size: tuple[int, int],
    focal: float | None,
    tilt: float,
    bent: bool,
    name: str,
) -> str:
    if _picture(root, name).exists():
        return name
    scene = sample_scene(seed, int(name))
    if tilt or bent:
        focal = scene.view.focal if focal is None else focal
        (frame,) = take(scene, sample_camera(seed, int(name), *size, focal, tilt, bent))
    else:
        frame = render(scene, *size, focal)
    write_frame(root, name, frame)
    return name
