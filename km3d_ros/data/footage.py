"""Images from one file, a folder or a film."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from km3d_ros.data.image_file import read_image, read_image_size
from km3d_ros.data.kitti import IMAGE_SUFFIXES, by_stem, list_images
from km3d_ros.errors import InputError, check_downloaded
from km3d_ros.frames.compressed import MAX_PIXELS

FILM_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")

_LEAST_READ = 0.95
"""A film counts as cut off if fewer than this part of its pictures can be read. The number of
pictures in the container is an estimate."""


class Picture(NamedTuple):
    """An image (h, w, 3) uint8 BGR, with its name, and the name without suffix."""

    name: str
    stem: str
    image: np.ndarray


@dataclass
class Images:
    """Image files.

    sizes: width and height by path, of those with a readable header.
    failures: why the others cannot be read. Damaged images are added when they are read.
    """

    sizes: dict[Path, tuple[int, int]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[Picture]:
        for path in self.sizes:
            try:
                image = read_image(path)
            except InputError as error:
                self.failures.append(str(error))
                continue
            yield Picture(path.name, path.stem, image)


@dataclass
class Film:
    """A video file. Its pictures are named STEM_000000, STEM_000001, ...

    size: width and height in pixels. rate: pictures per second.
    failures: why not all of it could be read.
    """

    path: Path
    size: tuple[int, int]
    rate: float
    count: int
    failures: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Picture]:
        capture = cv2.VideoCapture(str(self.path))
        number = 0
        while (image := capture.read()[1]) is not None:
            name = f"{self.path.stem}_{number:06d}"
            yield Picture(name, name, image)
            number += 1
        capture.release()
        if number < _LEAST_READ * self.count:
            self.failures.append(f"{self.path}: cut off: {number} of {self.count} pictures read")


def open_footage(path: Path) -> Images | Film:
    """Open a source of images; of image files the headers are read.

    Raises:
        InputError: missing, a folder without images, two images of one name, or a file that is
            neither an image nor a readable film.
    """
    if path.is_dir():
        return _images(list_images(path))
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder")
    if path.suffix.lower() in FILM_SUFFIXES:
        return _film(path)
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        known = ", ".join((*IMAGE_SUFFIXES, *FILM_SUFFIXES))
        raise InputError(f"{path}: neither an image nor a film ({known})")
    return _images([path])


def _images(paths: list[Path]) -> Images:
    by_stem(paths)
    images = Images()
    for path in paths:
        try:
            images.sizes[path] = read_image_size(path)
        except InputError as error:
            images.failures.append(str(error))
    return images


def _film(path: Path) -> Film:
    check_downloaded(path)
    capture = cv2.VideoCapture(str(path))
    count, rate = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
    width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
    readable = capture.isOpened() and 0 < width * height <= MAX_PIXELS
    # Decoding applies the rotation of the film, so the size is that of a decoded picture.
    first = capture.read()[1] if readable else None
    capture.release()
    if first is None:
        raise InputError(f"{path}: not a readable film, or larger than {MAX_PIXELS} pixels")
    height, width = first.shape[:2]
    return Film(path, (width, height), rate if 1 <= rate <= 240 else 10.0, max(int(count), 1))
