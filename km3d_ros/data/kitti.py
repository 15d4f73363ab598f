"""KITTI object format: labels, results, calibrations and folders."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from km3d_ros.data.class_names import DONT_CARE, canonical
from km3d_ros.data.files import read_text
from km3d_ros.data.ros_calibration import is_ros_calibration, read_ros_calibration
from km3d_ros.errors import InputError
from km3d_ros.geometry.camera import CameraModel, check_intrinsics

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
PROJECTIONS = ("P0", "P1", "P2", "P3")
"""Projections of a KITTI calibration: those of image_0 to image_3."""

_LABEL_COLUMNS = 15
_RESULT_COLUMNS = 16
UNKNOWN_SIDE = -1.0
UNKNOWN_PLACE = -1000.0
UNKNOWN_ANGLE = -10.0
UNKNOWN_OCCLUSION = -1
"""What the files say of a side, a coordinate, an angle or an occlusion that is not known."""

_OCCLUSIONS = range(4)
_LONGEST_SIDE = 100.0
_FARTHEST = 1000.0
_LARGEST_ANGLE = 10.0
_SHORTEST_FOCAL = 10.0
"""Pixels; a focal length below it is given in image widths or metres."""
_MAX_SPLIT = 2**26
"""Bytes of a list of frames, enough for millions of names."""


@dataclass(frozen=True)
class KittiObject:
    """One line of a label or result file, in our conventions.

    class_name: "Car", "Van", "Pedestrian", ..., or "DontCare" (a region without 3D box), as
        `class_names.canonical` spells it.
    truncation: part of the object outside the image, 0 to 1; -1 where unknown.
    occlusion: 0 visible, 1 partly, 2 largely occluded, 3 unknown; -1 where not given.
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

    @classmethod
    def of_box2d(
        cls,
        class_name: str,
        box2d: tuple[float, float, float, float],
        truncation: float = -1.0,
        occlusion: int = UNKNOWN_OCCLUSION,
    ) -> KittiObject:
        """An object, or a DontCare region, of which only the 2D box is known."""
        size, center = (UNKNOWN_SIDE,) * 3, (UNKNOWN_PLACE,) * 3
        alpha = yaw = UNKNOWN_ANGLE
        return cls(class_name, truncation, occlusion, alpha, box2d, size, center, yaw)

    @property
    def has_box3d(self) -> bool:
        """False where size, location or rotation is unknown: DontCare, and 2D labels."""
        return (
            min(self.size) > 0
            and UNKNOWN_PLACE not in self.center
            and self.center[2] != 0
            and self.yaw != UNKNOWN_ANGLE
        )

    @property
    def observation_angle(self) -> float | None:
        """alpha, computed from yaw and centre where it is unknown; None where these are, too."""
        if self.alpha != UNKNOWN_ANGLE:
            return self.alpha
        x, _, z = self.center
        return self.yaw - math.atan2(x, z) if self.has_box3d else None


@dataclass(frozen=True)
class Frame:
    """One image with its calibration and labels.

    projection: (3, 4) float64, pixels from metres in the camera frame; None if unknown, which it
        may be for images with 2D boxes only. Of a ROS calibration: P, that of the image as a level
        pinhole sees it (`extraction.level_view`).
    objects: empty for images without labels.
    camera: of the image of a ROS calibration, raw, with the labels in its rectified frame; None:
        that of `projection`.
    """

    name: str
    image_path: Path
    projection: np.ndarray | None
    objects: list[KittiObject] = field(default_factory=list)
    camera: CameraModel | None = None

    def camera_of(self, image: np.ndarray) -> CameraModel:
        """The camera of the image (height, width, 3).

        Raises:
            InputError: the calibration does not describe a usable camera.
        """
        return self.camera or CameraModel.from_projection(self.projection, *image.shape[1::-1])


class KittiDataset:
    """Labelled frames of a KITTI folder, read on access.

    Args:
        root, split: as for `find_images`; the frames need calib and label_2.
        classes: class names beyond the usual ones, as of `read_labels`.
        renames: new class name by the name in the labels.

    Raises:
        InputError: a folder, the split, or a file of a frame is missing.
    """

    def __init__(
        self,
        root: str | Path,
        split: str | None = None,
        classes: Sequence[str] = (),
        renames: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.root = Path(root)
        self.classes = tuple(classes)
        self.renames = dict(renames)
        self._images = find_images(self.root, split, ("calib", "label_2"))
        self.folder = self._images[0].parents[1]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Frame:
        path = self._images[index]
        projection, camera = read_calibration(find_calibration(self.folder, path.stem))
        return Frame(path.stem, path, projection, self.objects(index), camera)

    def objects(self, index: int) -> list[KittiObject]:
        """The labels of a frame alone.

        Raises:
            InputError: as of `read_labels`.
        """
        name = f"{self._images[index].stem}.txt"
        objects = read_labels(self.folder / "label_2" / name, (*self.classes, *self.renames))
        names = (self.renames.get(item.class_name, item.class_name) for item in objects)
        return [replace(item, class_name=name) for item, name in zip(objects, names, strict=True)]


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
    folder = data_folder(root, split, parts)
    images = by_stem(list_images(folder / "image_2", copied=False))
    names = list(images) if split is None else read_split(root, split)
    for name in names:
        if name not in images:
            raise InputError(f"{folder / 'image_2'}: no image of frame {reprlib.repr(name)}")
    for part in parts:
        suffixes = (".txt", ".yaml") if part == "calib" else (".txt",)
        found = {path.stem for path in (folder / part).iterdir() if path.suffix in suffixes}
        for name in names:
            if name not in found:
                raise InputError(f"{folder / part / name}.txt: no such file for this image")
    return [images[name] for name in names]


def data_folder(root: Path, split: str | None, parts: tuple[str, ...]) -> Path:
    """The folder that holds image_2 and `parts`; arguments and errors as of `find_images`."""
    # The benchmark gives training and testing images the same names: `test` is looked up first.
    test = [root / "testing"] if split == "test" else []
    for folder in (*test, root, root / "training"):
        if (folder / "image_2").is_dir():
            for part in parts:
                if not (folder / part).is_dir():
                    raise InputError(f"{folder / part}: no such folder")
            return folder
    parts = ("image_2", *parts)
    raise InputError(f"{root}: no KITTI folder; expected {', '.join(parts)} in it or in training/")


def list_images(folder: Path, copied: bool = True) -> list[Path]:
    """The images in a folder, sorted by name.

    copied: whether to list `._NAME` files, which macOS writes beside copies; they are no images.

    Raises:
        InputError: there is none.
    """
    images = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and (copied or not path.name.startswith("._"))
    )
    if not images:
        raise InputError(f"{folder}: no images in it ({', '.join(IMAGE_SUFFIXES)})")
    return images


def by_stem(images: Iterable[Path]) -> dict[str, Path]:
    """Images by name without suffix, by which labels, calibrations and results are named.

    Raises:
        InputError: two of them have the same.
    """
    named: dict[str, Path] = {}
    for path in images:
        other = named.setdefault(path.stem, path)
        if other != path:
            raise InputError(
                f"{other} and {path.name}: two images of one name, which share their results; "
                "rename one of them"
            )
    return named


def list_texts(folder: Path) -> dict[str, Path]:
    """The label or result files of a folder by name without suffix, sorted."""
    paths = (path for path in folder.glob("*.txt") if not path.name.startswith("._"))
    return {path.stem: path for path in sorted(paths)}


def read_labels(path: str | Path, classes: Sequence[str] = ()) -> list[KittiObject]:
    """Read a label file.

    Lines have 15 columns. A 16th one (exports of other data sets write a score) is not read. An
    occlusion that the format does not have becomes unknown.

    Args:
        path: the file.
        classes: class names beyond the usual ones; see `class_names.canonical`.

    Raises:
        InputError: unreadable file, a line with other columns, or a label that cannot be true;
            file and line are named.
    """
    objects = []
    for number, columns in _lines(path):
        where = f"{path}:{number}"
        item = _parse_object(columns[:_LABEL_COLUMNS], where, classes)
        _check_label(item, where)
        if item.occlusion not in _OCCLUSIONS:
            item = replace(item, occlusion=UNKNOWN_OCCLUSION)
        objects.append(item)
    return objects


def read_results(path: str | Path, classes: Sequence[str] = ()) -> list[KittiObject]:
    """Read a result file: lines of 16 columns, the last one the score.

    classes: class names beyond the usual ones; see `class_names.canonical`.

    Raises:
        InputError: unreadable file, or a line with other columns; file and line are named.
    """
    objects = []
    for number, columns in _lines(path):
        if len(columns) == _LABEL_COLUMNS:
            raise InputError(
                f"{path}:{number}: a result without a score; expected {_RESULT_COLUMNS} columns"
            )
        objects.append(_parse_object(columns, f"{path}:{number}", classes))
    return objects


def parse_objects(path: str | Path) -> Iterator[tuple[int, KittiObject]]:
    """The objects of a label or result file with their line numbers; the values are not checked.

    Raises:
        InputError: unreadable file, or a line with other columns; file and line are named.
    """
    for number, columns in _lines(path):
        yield number, _parse_object(columns, f"{path}:{number}")


def write_objects(path: str | Path, objects: Iterable[KittiObject]) -> None:
    """Write a label file, or a result file where the objects have scores."""
    Path(path).write_text("".join(_format_object(item) + "\n" for item in objects))


def read_projection(
    path: str | Path, name: str = "P2", size: tuple[int, int] | None = None
) -> np.ndarray:
    """Read one projection matrix of a calibration file.

    Args:
        path: calibration of the object benchmark (`P2: ...`) or of the raw data
            (calib_cam_to_cam.txt, `P_rect_02: ...`).
        name: one of `PROJECTIONS`.
        size: width and height of the images, which calib_cam_to_cam.txt has as well
            (`S_rect_02: ...`).

    Returns:
        (3, 4) float64, pixels from metres in the rectified reference camera frame.

    Raises:
        InputError: unreadable file, no such matrix, not twelve finite numbers, or not those of a
            rectified camera in pixels, K [I | t]; or the calibration of images of another size.
    """
    names = (name, f"P_rect_0{name[1:]}")
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        key, _, values = line.partition(":")
        if size and key.strip() == f"S_rect_0{name[1:]}":
            _check_size(_numbers(values.split(), f"{path}:{number}"), size, f"{path}:{number}")
        if key.strip() in names:
            return _parse_projection(values.split(), name, f"{path}:{number}")
    raise InputError(
        f'{path}: no {name} in this calibration file; expected a line "{name}: {_PROJECTION_FORM}"'
    )


def find_calibration(folder: Path, name: str) -> Path:
    """The calibration of a frame: NAME.yaml of ROS if there is one, else NAME.txt of KITTI."""
    path = folder / "calib" / f"{name}.yaml"
    return path if path.exists() else path.with_suffix(".txt")


def read_calibration(path: Path) -> tuple[np.ndarray, CameraModel | None]:
    """`Frame.projection` and `Frame.camera` from a calibration of KITTI or ROS.

    Raises:
        InputError: unreadable, or not of a usable camera.
    """
    if not is_ros_calibration(path):
        return read_projection(path), None
    info = read_ros_calibration(path)
    try:
        pinhole, camera = (CameraModel.from_camera_info(info, rectified) for rectified in (1, 0))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return pinhole.projection, camera


def write_calibration(path: str | Path, projection: np.ndarray) -> None:
    """Write a calibration file whose P2 is `projection` (3, 4); exact in float64."""
    numbers = " ".join(repr(float(value)) for value in np.asarray(projection).reshape(12))
    Path(path).write_text(f"P2: {numbers}\n")


def _lines(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """The numbers and columns of the lines that are not empty."""
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        columns = line.split()
        if not columns:
            continue
        if len(columns) not in (_LABEL_COLUMNS, _RESULT_COLUMNS):
            raise InputError(
                f"{path}:{number}: {len(columns)} columns, expected {_LABEL_COLUMNS} (label) or "
                f"{_RESULT_COLUMNS} (result)"
            )
        yield number, columns


def read_split(root: Path, split: str) -> list[str]:
    """The names of the frames in `root/ImageSets/SPLIT.txt`.

    Raises:
        InputError: unreadable, or no names.
    """
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


def _parse_object(columns: list[str], where: str, classes: Sequence[str] = ()) -> KittiObject:
    values = _numbers(columns[1:], where)
    truncation, occlusion, alpha, x0, y0, x1, y1, height, width, length, x, y, z, yaw = values[:14]
    return KittiObject(
        class_name=canonical(columns[0], classes),
        truncation=truncation,
        occlusion=int(occlusion),
        alpha=alpha,
        box2d=(x0, y0, x1, y1),
        size=(length, width, height),
        center=(x, y if UNKNOWN_PLACE in (x, y, z) else y - height / 2, z),
        yaw=yaw,
        score=values[14] if len(columns) == _RESULT_COLUMNS else None,
    )


def _check_label(item: KittiObject, where: str) -> None:
    x0, y0, x1, y1 = item.box2d
    if x1 < x0 or y1 < y0:
        raise InputError(f"{where}: 2D box {item.box2d}, expected left, top, right, bottom")
    if item.class_name == DONT_CARE:
        return
    if item.truncation > 1:
        raise InputError(
            f"{where}: truncation {item.truncation:g}, expected 0 to 1, or -1 where unknown"
        )
    if any(side > _LONGEST_SIDE or (side < 0 and side != UNKNOWN_SIDE) for side in item.size):
        raise InputError(
            f"{where}: length, width, height {item.size} m, expected 0 to {_LONGEST_SIDE:g}, "
            f"or {UNKNOWN_SIDE:g} where unknown"
        )
    for name, angle in (("rotation_y", item.yaw), ("alpha", item.alpha)):
        if abs(angle) > _LARGEST_ANGLE:
            raise InputError(
                f"{where}: {name} {angle}, expected radians up to ±{_LARGEST_ANGLE:g}"
            )
    if item.has_box3d and max(map(abs, item.center)) > _FARTHEST:
        raise InputError(f"{where}: an object at {item.center} m, beyond {_FARTHEST:g} m")


_PROJECTION_FORM = "fx 0 cx tx 0 fy cy ty 0 0 1 tz"


def _parse_projection(columns: list[str], name: str, where: str) -> np.ndarray:
    if len(columns) != 12:
        raise InputError(
            f"{where}: {name} has {len(columns)} numbers, not 12; expected {_PROJECTION_FORM}"
        )
    projection = np.array(_numbers(columns, where)).reshape(3, 4)
    try:
        check_intrinsics(projection[:, :3])
    except InputError as error:
        raise InputError(
            f"{where}: {name} is not the K [I | t] of a rectified camera: {error}; expected "
            f"{_PROJECTION_FORM}"
        ) from None
    shortest = min(projection[0, 0], projection[1, 1])
    if shortest < _SHORTEST_FOCAL:
        raise InputError(f"{where}: {name} has a focal length of {shortest:g}, expected pixels")
    return projection


def _check_size(calibrated: list[float], size: tuple[int, int], where: str) -> None:
    if calibrated != list(size):
        expected = "x".join(f"{side:g}" for side in calibrated)
        raise InputError(
            f"{where}: for rectified images of {expected} pixels, got {size[0]}x{size[1]}"
        )


def _format_object(item: KittiObject) -> str:
    length, width, height = item.size
    x, y, z = item.center
    bottom = y if UNKNOWN_PLACE in item.center else y + height / 2
    values = [item.alpha, *item.box2d, height, width, length, x, bottom, z, item.yaw]
    line = f"{item.class_name} {item.truncation:.2f} {item.occlusion} " + " ".join(
        f"{value:.4f}" for value in values
    )
    return line if item.score is None else f"{line} {item.score:.6f}"
