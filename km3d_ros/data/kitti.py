"""KITTI object format: labels, results, calibration and folders (design, sections 3 and 10)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from km3d_ros.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
DONT_CARE = "DontCare"

_LABEL_COLUMNS = 15
_RESULT_COLUMNS = 16


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

    Frames are those of `ImageSets/<split>.txt` in its order where a split is given, else all
    images sorted by name.

    Args:
        root: folder that holds image_2, label_2 and calib, itself or in `training/`.
        split: name of a file in `root/ImageSets` without its suffix.

    Raises:
        InputError: a folder, the split or a frame that the split names is missing.
    """

    def __init__(self, root: str | Path, split: str | None = None) -> None:
        self.root = Path(root)
        self.folder = _data_folder(self.root)
        images = {
            path.stem: path
            for path in sorted((self.folder / "image_2").iterdir())
            if path.suffix.lower() in IMAGE_SUFFIXES
        }
        names = list(images) if split is None else _read_split(self.root, split)
        missing = [name for name in names if name not in images]
        if missing:
            raise InputError(f"{self.folder / 'image_2'}: no image of frame {missing[0]!r}")
        self._images = [images[name] for name in names]

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


def read_objects(path: str | Path) -> list[KittiObject]:
    """Read a label file (15 columns) or a result file (16, the last one the score).

    Raises:
        InputError: unreadable file, or a line with other columns; file and line are named.
    """
    objects = []
    for number, line in enumerate(_read_lines(path), start=1):
        if line.strip():
            objects.append(_parse_object(line.split(), f"{path}:{number}"))
    return objects


def write_objects(path: str | Path, objects: Iterable[KittiObject]) -> None:
    """Write a label file, or a result file where the objects have scores."""
    Path(path).write_text("".join(_format_object(item) + "\n" for item in objects))


def read_projection(path: str | Path, name: str = "P2") -> np.ndarray:
    """Read one projection matrix of a calibration file.

    Returns:
        (3, 4) float64, pixels from metres in the rectified reference camera frame.

    Raises:
        InputError: unreadable file, no such matrix, or not twelve finite numbers.
    """
    for number, line in enumerate(_read_lines(path), start=1):
        key, _, values = line.partition(":")
        if key.strip() == name:
            columns = values.split()
            if len(columns) != 12:
                raise InputError(f"{path}:{number}: {name} has {len(columns)} numbers, not 12")
            return np.array(_numbers(columns, f"{path}:{number}")).reshape(3, 4)
    raise InputError(f"{path}: no {name} in this calibration file")


def write_calibration(path: str | Path, projection: np.ndarray) -> None:
    """Write a calibration file whose P2 is `projection` (3, 4); exact in float64."""
    numbers = " ".join(repr(float(value)) for value in np.asarray(projection).reshape(12))
    Path(path).write_text(f"P2: {numbers}\n")


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file as (height, width, 3) uint8 BGR.

    Raises:
        InputError: the file is missing or not an image.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise InputError(f"{path}: not a readable image")
    return image


def _data_folder(root: Path) -> Path:
    parts = ("image_2", "label_2", "calib")
    for folder in (root, root / "training"):
        if (folder / "image_2").is_dir():
            for part in parts:
                if not (folder / part).is_dir():
                    raise InputError(f"{folder / part}: no such folder")
            return folder
    raise InputError(f"{root}: no KITTI folder; expected {', '.join(parts)} in it or in training/")


def _read_split(root: Path, split: str) -> list[str]:
    return " ".join(_read_lines(root / "ImageSets" / f"{split}.txt")).split()


def _read_lines(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise InputError(f"{path}: {reason}") from error


def _numbers(columns: list[str], where: str) -> list[float]:
    numbers = []
    for column in columns:
        try:
            numbers.append(float(column))
        except ValueError:
            raise InputError(f"{where}: {column!r} is not a number") from None
        if not math.isfinite(numbers[-1]):
            raise InputError(f"{where}: {column!r} is not a finite number")
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


def _format_object(item: KittiObject) -> str:
    length, width, height = item.size
    x, y, z = item.center
    values = [item.alpha, *item.box2d, height, width, length, x, y + height / 2, z, item.yaw]
    line = f"{item.class_name} {item.truncation:.2f} {item.occlusion} " + " ".join(
        f"{value:.4f}" for value in values
    )
    return line if item.score is None else f"{line} {item.score:.6f}"
