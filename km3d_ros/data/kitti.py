"""KITTI object format: labels, results, calibration and folders (design, sections 3 and 10)."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from km3d_ros.data.files import read_text
from km3d_ros.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
DONT_CARE = "DontCare"

_LABEL_COLUMNS = 15
_RESULT_COLUMNS = 16
_UNKNOWN_SIDE = -1
_LONGEST_SIDE = 100.0
_FARTHEST = 1000.0
_LARGEST_YAW = 10.0
_MAX_SPLIT = 2**26
"""Bytes of a list of frames; millions of names."""


@dataclass(frozen=True)
class KittiObject:
    """One line of a label or result file, in our conventions.

    class_name: "Car", "Van", "Pedestrian", ..., or "DontCare" (a region without 3D box).
    truncation: part of the object outside the image, 0 to 1; -1 where unknown.
    occlusion: 0 visible, 1 partly, 2 largely occluded, 3 unknown; -1 where unknown.
    alpha: observation angle in radians; -10 where unknown.
    box2d: x0, y0, x1, y1 in pixels.
    size: length, width, height in metres.
    center: geometric centre in metres, in the frame of the rectified reference camera
        (x right, y down, z forward). The files store the centre of the bottom face.
    yaw: rotation about the y axis in radians, KITTI's rotation_y.
    score: confidence of a result, None for a label.
    """

    class_name: str
    truncation: float
    occlusion: int
    alpha: float
    box2d: tuple[float, float, float, float]
    size: tuple[float, float, float]
    center: tuple[float, float, float]
    yaw: float
    score: float | None = None

    @property
    def has_box3d(self) -> bool:
        """False where only the region in the image is known: DontCare, and 2D labels."""
        return min(self.size) > 0


@dataclass(frozen=True)
class KittiFrame:
    """One image with its calibration and labels.

    projection: (3, 4) float64, the P2 of the calibration file.
    """

    name: str
    image_path: Path
    projection: np.ndarray
    objects: list[KittiObject]


class KittiDataset:
    """Labelled frames of a KITTI folder, read when they are asked for.

    Args:
        root, split: as for `find_images`; the frames need calib and label_2.

    Raises:
        InputError: a folder, the split, or a file of a frame is missing.
    """

    def __init__(self, root: str | Path, split: str | None = None) -> None:
        self.root = Path(root)
        self._images = find_images(self.root, split, ("calib", "label_2"))
        self.folder = self._images[0].parents[1]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> KittiFrame:
        path = self._images[index]
        return KittiFrame(
            name=path.stem,
            image_path=path,
            projection=read_projection(self.folder / "calib" / f"{path.stem}.txt"),
            objects=read_objects(self.folder / "label_2" / f"{path.stem}.txt"),
        )


def find_images(root: Path, split: str | None, parts: tuple[str, ...]) -> list[Path]:
    """The images of a KITTI folder, each with its text file in every one of `parts`.

    Args:
        root: folder that holds image_2 and `parts`, itself or in `training/`.
        split: name of a file in `root/ImageSets` without its suffix; its frames in its order, in
            `testing/` for the benchmark's `test`. Without one, all images sorted by name.
        parts: names of folders beside image_2.

    Raises:
        InputError: a folder, the split, or a file of a frame is missing, or there is no frame.
    """
    folder = _data_folder(root, split, parts)
    images = {path.stem: path for path in list_images(folder / "image_2")}
    names = list(images) if split is None else _read_split(root, split)
    for name in names:
        if name not in images:
            raise InputError(f"{folder / 'image_2'}: no image of frame {reprlib.repr(name)}")
    for part in parts:
        found = {path.stem for path in (folder / part).glob("*.txt")}
        for name in names:
            if name not in found:
                raise InputError(f"{folder / part / name}.txt: no such file for this image")
    return [images[name] for name in names]


def list_images(folder: Path) -> list[Path]:
    """The images in a folder, sorted by name.

    Raises:
        InputError: there is none.
    """
    images = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise InputError(f"{folder}: no images in it ({', '.join(IMAGE_SUFFIXES)})")
    return images


def read_objects(path: str | Path) -> list[KittiObject]:
    """Read a label file (15 columns) or a result file (16, the last one the score).

    Raises:
        InputError: unreadable file, a line with other columns, or a label that cannot be true;
            file and line are named.
    """
    objects = []
    for number, item in parse_objects(path):
        objects.append(item)
        if item.score is None:
            _check_label(item, f"{path}:{number}")
    return objects


def parse_objects(path: str | Path) -> Iterator[tuple[int, KittiObject]]:
    """The objects of a label or result file with the numbers of their lines, true or not.

    Raises:
        InputError: unreadable file, or a line with other columns; file and line are named.
    """
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            yield number, _parse_object(line.split(), f"{path}:{number}")


def write_objects(path: str | Path, objects: Iterable[KittiObject]) -> None:
    """Write a label file, or a result file where the objects have scores."""
    Path(path).write_text("".join(_format_object(item) + "\n" for item in objects))


def read_projection(path: str | Path, name: str = "P2") -> np.ndarray:
    """Read one projection matrix of a calibration file.

    Returns:
        (3, 4) float64, pixels from metres in the rectified reference camera frame.

    Raises:
        InputError: unreadable file, no such matrix, not twelve finite numbers, or not those of a
            rectified camera, K [I | t].
    """
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        key, _, values = line.partition(":")
        if key.strip() == name:
            return _parse_projection(values.split(), name, f"{path}:{number}")
    raise InputError(f"{path}: no {name} in this calibration file")


def write_calibration(path: str | Path, projection: np.ndarray) -> None:
    """Write a calibration file whose P2 is `projection` (3, 4); exact in float64."""
    numbers = " ".join(repr(float(value)) for value in np.asarray(projection).reshape(12))
    Path(path).write_text(f"P2: {numbers}\n")


def _data_folder(root: Path, split: str | None, parts: tuple[str, ...]) -> Path:
    # The benchmark numbers training and testing alike: its test split must not find the former.
    test = [root / "testing"] if split == "test" else []
    for folder in (*test, root, root / "training"):
        if (folder / "image_2").is_dir():
            for part in parts:
                if not (folder / part).is_dir():
                    raise InputError(f"{folder / part}: no such folder")
            return folder
    parts = ("image_2", *parts)
    raise InputError(f"{root}: no KITTI folder; expected {', '.join(parts)} in it or in training/")


def _read_split(root: Path, split: str) -> list[str]:
    path = root / "ImageSets" / f"{split}.txt"
    names = read_text(path, _MAX_SPLIT).split()
    if not names:
        raise InputError(f"{path}: names no frames")
    return names


def _numbers(columns: list[str], where: str) -> list[float]:
    numbers = []
    for column in columns:
        try:
            numbers.append(float(column))
        except ValueError:
            raise InputError(f"{where}: {reprlib.repr(column)} is not a number") from None
        if not math.isfinite(numbers[-1]):
            raise InputError(f"{where}: {reprlib.repr(column)} is not a finite number")
    return numbers


def _parse_object(columns: list[str], where: str) -> KittiObject:
    if len(columns) not in (_LABEL_COLUMNS, _RESULT_COLUMNS):
        raise InputError(
            f"{where}: {len(columns)} columns, expected {_LABEL_COLUMNS} (label) or "
            f"{_RESULT_COLUMNS} (result)"
        )
    values = _numbers(columns[1:], where)
    truncation, occlusion, alpha, x0, y0, x1, y1, height, width, length, x, y, z, yaw = values[:14]
    return KittiObject(
        class_name=columns[0],
        truncation=truncation,
        occlusion=int(occlusion),
        alpha=alpha,
        box2d=(x0, y0, x1, y1),
        size=(length, width, height),
        center=(x, y - height / 2, z),
        yaw=yaw,
        score=values[14] if len(columns) == _RESULT_COLUMNS else None,
    )


def _check_label(item: KittiObject, where: str) -> None:
    x0, y0, x1, y1 = item.box2d
    if x1 < x0 or y1 < y0:
        raise InputError(f"{where}: 2D box {item.box2d}, expected left, top, right, bottom")
    if item.class_name == DONT_CARE:
        return
    if any(side > _LONGEST_SIDE or (side < 0 and side != _UNKNOWN_SIDE) for side in item.size):
        raise InputError(
            f"{where}: length, width, height {item.size} m, expected 0 to {_LONGEST_SIDE:g}, "
            f"or {_UNKNOWN_SIDE} where unknown"
        )
    if not item.has_box3d:
        return
    if max(map(abs, item.center)) > _FARTHEST:
        raise InputError(f"{where}: an object at {item.center} m, beyond {_FARTHEST:g} m")
    if abs(item.yaw) > _LARGEST_YAW:
        raise InputError(
            f"{where}: rotation_y {item.yaw}, expected radians up to ±{_LARGEST_YAW:g}"
        )


def _parse_projection(columns: list[str], name: str, where: str) -> np.ndarray:
    if len(columns) != 12:
        raise InputError(f"{where}: {name} has {len(columns)} numbers, not 12")
    projection = np.array(_numbers(columns, where)).reshape(3, 4)
    (fx, skew, _), (turn, fy, _), bottom = projection[:, :3].tolist()
    if min(fx, fy) <= 0 or not np.allclose([skew, turn, *bottom], [0, 0, 0, 0, 1], atol=1e-6):
        raise InputError(f"{where}: {name} is not the K [I | t] of a rectified camera")
    return projection


def _format_object(item: KittiObject) -> str:
    length, width, height = item.size
    x, y, z = item.center
    values = [item.alpha, *item.box2d, height, width, length, x, y + height / 2, z, item.yaw]
    line = f"{item.class_name} {item.truncation:.2f} {item.occlusion} " + " ".join(
        f"{value:.4f}" for value in values
    )
    return line if item.score is None else f"{line} {item.score:.6f}"
