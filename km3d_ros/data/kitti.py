"""KITTI object format: folders of labelled frames."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from km3d_ros.data.calibration import find_calibration, read_calibration
from km3d_ros.data.files import read_text
from km3d_ros.data.kitti_labels import KittiObject, read_labels
from km3d_ros.errors import InputError
from km3d_ros.geometry.camera import CameraModel

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
_MAX_SPLIT = 2**26
"""Bytes of a list of frames, enough for millions of names."""


@dataclass(frozen=True)
class Frame:
    """One image with its calibration and labels.

    projection: (3, 4) float64, pixels from metres in the camera frame; None if unknown, which it
        may be for images with 2D boxes only. With a `camera`: that of the level pinhole through
        which `level_view.level_view` shows the image.
    objects: empty for images without labels.
    camera: of an image that is raw or not level; the labels are in its level frame. None: that of
        `projection`.
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


def open_frame(image: Path, objects: Sequence[KittiObject] = ()) -> Frame:
    """The frame of an image of a KITTI folder, with the calibration of its name.

    Raises:
        InputError: as of `read_calibration`.
    """
    projection, camera = read_calibration(find_calibration(image.parents[1], image.stem))
    return Frame(image.stem, image, projection, list(objects), camera)


class KittiDataset:
    """Labelled frames of a KITTI folder, read on access.

    root, split: as for `find_images`, whose errors are raised; with calib and label_2.
    classes: class names beyond the usual ones, as of `read_labels`.
    renames: new class name by the name in the labels.
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
        return open_frame(self._images[index], self.objects(index))

    def objects(self, index: int) -> list[KittiObject]:
        """The labels of a frame alone; errors as of `read_labels`."""
        name = f"{self._images[index].stem}.txt"
        objects = read_labels(self.folder / "label_2" / name, (*self.classes, *self.renames))
        names = (self.renames.get(item.class_name, item.class_name) for item in objects)
        return [replace(item, class_name=name) for item, name in zip(objects, names, strict=True)]


def find_images(root: Path, split: str | None, parts: tuple[str, ...]) -> list[Path]:
    """The images of a KITTI folder.

    root: folder that holds image_2 and `parts`, itself or in `training/`.
    split: name of a file in `root/ImageSets` without its suffix; its frames in its order, in
        `testing/` for the benchmark's `test`. None: all images sorted by name.
    parts: names of folders beside image_2, in which each frame must have a file.

    Raises:
        InputError: a folder, the split, or a file of a frame is missing, or there is no frame.
    """
    folder = data_folder(root, split, parts)
    images = by_stem(list_images(folder / "image_2"))
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


def list_images(folder: Path) -> list[Path]:
    """The images in a folder, sorted by name, without the `._NAME` files of macOS.

    Raises:
        InputError: there is none.
    """
    paths = (path for path in folder.iterdir() if not path.name.startswith("._"))
    images = sorted(path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES)
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
            reason = "two images of one name, which share their results; rename one of them"
            raise InputError(f"{other} and {path.name}: {reason}")
    return named


def list_texts(folder: Path) -> dict[str, Path]:
    """The label or result files of a folder by name without suffix, sorted."""
    paths = (path for path in folder.glob("*.txt") if not path.name.startswith("._"))
    return {path.stem: path for path in sorted(paths)}


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
